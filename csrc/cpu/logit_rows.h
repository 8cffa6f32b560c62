// Loops over one row of logits: what the epilogues of all similarity tiles are made of. The float versions are compiled
// per instruction set.
#pragma once

#include <cstdint>

namespace sslfast::cpu {

float row_max(const float* s, int64_t n);
double row_max(const double* s, int64_t n);

// The same, and maxima_j <- max(maxima_j, s_j).
float row_max_by_column(const float* s, int64_t n, float* maxima);
double row_max_by_column(const double* s, int64_t n, double* maxima);

// Returns sum_j exp(s_j - shift) and adds each term to column_sums.
float row_exp(const float* s, int64_t n, float shift, float* column_sums);
double row_exp(const double* s, int64_t n, double shift, double* column_sums);

// Returns sum_j exp(s_j - shift) and adds exp(s_j - column_shift_j) to column_sums_j.
float row_exp_apart(const float* s, int64_t n, float shift, const float* column_shift, float* column_sums);
double row_exp_apart(const double* s, int64_t n, double shift, const double* column_shift, double* column_sums);

// s_j <- exp(s_j - shift); returns their sum.
float row_exp_in_place(float* s, int64_t n, float shift);
double row_exp_in_place(double* s, int64_t n, double shift);

// s_j <- exp(s_j - center) * (weight + columns_j)
void row_weights(float* s, int64_t n, float center, float weight, const float* columns);
void row_weights(double* s, int64_t n, double center, double weight, const double* columns);

// s_j <- weight * exp(s_j - lse) + columns_j * exp(s_j - column_lse_j)
void row_weights_apart(float* s, int64_t n, float lse, float weight, const float* column_lse, const float* columns);
void row_weights_apart(double* s, int64_t n, double lse, double weight, const double* column_lse,
                       const double* columns);

// s_j <- s_j - (share + columns_j) where labels_j is label; columns may be null, for zeros
void row_subtract_shares(float* s, int64_t n, const int32_t* labels, int32_t label, float share, const float* columns);
void row_subtract_shares(double* s, int64_t n, const int32_t* labels, int32_t label, double share,
                         const double* columns);

// to_j <- to_j + from_j
void row_add(float* to, const float* from, int64_t n);
void row_add(double* to, const double* from, int64_t n);

// s_j <- factor * s_j
void row_scale(float* s, int64_t n, float factor);
void row_scale(double* s, int64_t n, double factor);

// s_j <- mark where ids_j is id
void row_exclude_id(float* s, int64_t n, const int64_t* ids, int64_t id, float mark);
void row_exclude_id(double* s, int64_t n, const int64_t* ids, int64_t id, double mark);

// s_j <- -inf where s_j is above the limit, which a NaN is not
void row_exclude_above(float* s, int64_t n, float limit);
void row_exclude_above(double* s, int64_t n, double limit);

}  // namespace sslfast::cpu
