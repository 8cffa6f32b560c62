// Run-time choice of the instruction set: the compiler emits a marked function once per level and the loader picks
// the best one for this CPU. Only functions that hold the hot loop are marked, never one with an OpenMP pragma in it
// (the outlined body would not be cloned).
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define SSLFAST_ISA_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SSLFAST_ISA_CLONES
#endif

namespace sslfast::cpu {

// The level that SSLFAST_ISA_CLONES resolves to on this CPU, in words.
const char* instruction_set();

}  // namespace sslfast::cpu
