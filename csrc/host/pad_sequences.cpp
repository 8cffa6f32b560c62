// Rows of Python ints, or arrays of them, into one padded array. Lists are read item by item through the C API: making
// a tensor of each row and copying it into a batch is what a collator otherwise spends its time on.
#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "arrays.h"

namespace sslfast::host {
namespace {

struct Row {
  PyObject* items = nullptr;  // a list or tuple, which the caller's tuple of rows keeps alive
  py::array array;            // or this
  int64_t total = 0;          // elements, of which `length` from `first` on are kept
  int64_t first = 0;
  int64_t length = 0;
};

std::string type_name(PyObject* object) { return Py_TYPE(object)->tp_name; }

std::string place(int64_t row) { return "pad_sequences: sequences[" + std::to_string(row) + "]"; }

bool is_items(PyObject* object) { return PyList_Check(object) || PyTuple_Check(object); }

// A bool, or a torch tensor of one, which has an __index__; NumPy's have none.
bool is_bool(PyObject* item) {
  if (PyBool_Check(item)) return true;
  const auto dtype = py::reinterpret_steal<py::object>(PyObject_GetAttrString(item, "dtype"));
  if (!dtype) PyErr_Clear();
  return dtype && std::string(py::str(dtype)) == "torch.bool";
}

template <typename T>
struct Filler {
  T* out;
  int64_t width;  // of a token's entry; 0 where it is a number
  bool has_none;
  int64_t none_value;
  bool bools;             // whether they count as ints
  std::vector<T> unread;  // an entry that is not kept, whose numbers are checked all the same

  T* target(const Row& row, T* to, int64_t i) {
    const int64_t inner = width ? width : 1, place = i - row.first;
    return static_cast<uint64_t>(place) < static_cast<uint64_t>(row.length) ? to + place * inner : unread.data();
  }

  [[noreturn]] static void not_an_int(const std::string& where, PyObject* item) {
    throw py::type_error(where + " must be an int, got " + type_name(item));
  }

  static T fit(const std::string& where, int64_t value) {
    if (value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max()) {
      constexpr bool is_signed = std::is_signed_v<T>;
      const std::string dtype = (is_signed ? "int" : "uint") + std::to_string(8 * sizeof(T));
      throw py::value_error(where + " must fit in " + dtype + ", got " + std::to_string(value));
    }
    return static_cast<T>(value);
  }

  // A number that is no plain int: None, a bool, or what has an __index__, which is Python code.
  int64_t unusual(PyObject* item, const std::string& where) const {
    if (item == Py_None && has_none) return none_value;
    if (!PyIndex_Check(item) || (!bools && is_bool(item))) not_an_int(where, item);
    const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(item));
    if (!index) {
      PyErr_Clear();
      not_an_int(where, item);
    }
    int overflow = 0;
    const int64_t value = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
    if (overflow) throw py::value_error(where + " must fit in int64, got " + std::string(py::str(index)));
    return value;
  }

  // Whether an item is a plain int that fits, the only case that has to be fast.
  static bool plain(PyObject* item, T& to) {
    if (!PyLong_CheckExact(item)) return false;
    int overflow;
    const int64_t value = PyLong_AsLongLongAndOverflow(item, &overflow);
    if (overflow || value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max()) return false;
    to = static_cast<T>(value);
    return true;
  }

  // Code behind an __index__ may have changed any list since its length was read.
  template <typename Where>
  static void still(PyObject* items, int64_t length, const Where& where) {
    if (PySequence_Fast_GET_SIZE(items) != length) throw py::value_error(where() + " changed while it was read");
  }

  // Numbers of a list or tuple, the i-th to place(i); `where` makes the place of the list for an error.
  template <typename Place, typename Where>
  void numbers(PyObject* items, int64_t length, const Place& place, const Where& where) const {
    still(items, length, where);
    for (int64_t i = 0; i < length; ++i) {
      PyObject* item = PySequence_Fast_GET_ITEM(items, i);
      T* to = place(i);
      if (plain(item, *to)) continue;
      const auto held = py::reinterpret_borrow<py::object>(item);
      const std::string here = where() + "[" + std::to_string(i) + "]";
      *to = fit(here, unusual(item, here));
      still(items, length, where);
    }
  }

  template <typename Place, typename Where>
  void entries(PyObject* items, int64_t length, const Place& place, const Where& where) const {
    still(items, length, where);
    for (int64_t i = 0; i < length; ++i) {
      const auto entry = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(items, i));
      const auto here = [&] { return where() + "[" + std::to_string(i) + "]"; };
      if (!is_items(entry.ptr()) || PySequence_Fast_GET_SIZE(entry.ptr()) != width) {
        throw py::type_error(here() + " must be " + std::to_string(width) + " ints, got " +
                             std::string(py::repr(entry)));
      }
      T* to = place(i);
      numbers(entry.ptr(), width, [to](int64_t k) { return to + k; }, here);
      still(items, length, where);
    }
  }

  template <typename S>
  void copy(const Row& source, T* to, int64_t row) const {
    const int64_t inner = width ? width : 1, length = source.length;
    const int64_t stride = source.array.strides(0), inner_stride = width ? source.array.strides(1) : 0;
    const auto* from = static_cast<const char*>(source.array.data()) + source.first * stride;
    for (int64_t i = 0; i < length; ++i) {
      for (int64_t k = 0; k < inner; ++k) {
        S value;
        std::memcpy(&value, from + i * stride + k * inner_stride, sizeof(S));
        if constexpr (std::is_same_v<S, T>) {
          to[i * inner + k] = value;
        } else if constexpr (std::is_same_v<S, uint64_t>) {
          if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
            const std::string where = place(row) + "[" + std::to_string(i) + "]";
            throw py::value_error(where + " must fit in int64, got " + std::to_string(value));
          }
          to[i * inner + k] = fit(place(row), static_cast<int64_t>(value));
        } else {
          const auto wide = static_cast<int64_t>(value);
          const bool fits = wide >= static_cast<int64_t>(std::numeric_limits<T>::min()) &&
                            wide <= static_cast<int64_t>(std::numeric_limits<T>::max());
          to[i * inner + k] = fits ? static_cast<T>(wide) : fit(place(row) + "[" + std::to_string(i) + "]", wide);
        }
      }
    }
  }

  void array(const Row& source, T* to, int64_t row) const {
    const bool is_signed = source.array.dtype().kind() == 'i';
    switch (source.array.itemsize()) {
      case 1:
        return is_signed ? copy<int8_t>(source, to, row) : copy<uint8_t>(source, to, row);
      case 2:
        return is_signed ? copy<int16_t>(source, to, row) : copy<uint16_t>(source, to, row);
      case 4:
        return is_signed ? copy<int32_t>(source, to, row) : copy<uint32_t>(source, to, row);
      default:
        return is_signed ? copy<int64_t>(source, to, row) : copy<uint64_t>(source, to, row);
    }
  }
};

Row read_row(PyObject* object, int64_t row, bool bools) {
  Row found;
  if (is_items(object)) {
    found.items = object;
    found.total = PySequence_Fast_GET_SIZE(object);
    return found;
  }
  found.array = py::array::ensure(object);  // a string, a mapping or a number gives one without dimensions
  const bool empty = found.array && found.array.ndim() == 1 && found.array.shape(0) == 0;
  const char kind = found.array ? found.array.dtype().kind() : 'O';
  const bool integers = kind == 'i' || kind == 'u' || (kind == 'b' && bools);
  if (!found.array || !(integers || empty) || found.array.ndim() < 1 || found.array.ndim() > 2) {
    PyErr_Clear();
    std::string got = type_name(object);
    if (found.array && found.array.ndim() > 0) {
      got = std::string(py::str(found.array.dtype())) + " of shape " + std::string(py::str(found.array.attr("shape")));
    }
    throw py::type_error(place(row) + " must be a list, tuple or array of ints, got " + got);
  }
  if (integers && !py::cast<bool>(found.array.dtype().attr("isnative"))) {
    found.array = found.array.attr("astype")("int64");
  }
  found.total = found.array.shape(0);
  return found;
}

// How many numbers a token's entry has, by the first there is; 0 where it is a number by itself.
int64_t entry_width(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    if (row.total == 0) continue;
    if (!row.items) return row.array.ndim() == 2 ? row.array.shape(1) : 0;
    if (PySequence_Fast_GET_SIZE(row.items) == 0) continue;  // an error soon: it changed while it was read
    PyObject* first = PySequence_Fast_GET_ITEM(row.items, 0);
    return is_items(first) ? PySequence_Fast_GET_SIZE(first) : 0;
  }
  return 0;
}

template <typename T>
py::array fill(const std::vector<Row>& rows, int64_t length, int64_t width, int64_t padding, bool left,
               std::optional<int64_t> none_value, bool bools) {
  std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(rows.size()), length};
  if (width) shape.push_back(width);
  Array<T> out(shape);
  const int64_t inner = width ? width : 1;
  Filler<T> filler{out.mutable_data(),     width, none_value.has_value(),
                   none_value.value_or(0), bools, std::vector<T>(static_cast<size_t>(inner))};
  for (size_t r = 0; r < rows.size(); ++r) {
    const Row& row = rows[r];
    T* begin = filler.out + static_cast<int64_t>(r) * length * inner;
    T* to = begin + (left ? (length - row.length) * inner : 0);
    std::fill(begin, to, static_cast<T>(padding));
    std::fill(to + row.length * inner, begin + length * inner, static_cast<T>(padding));
    if (row.total == 0) continue;
    if (!row.items) {
      const bool pairs = row.array.ndim() == 2;
      if (pairs != (width > 0) || (pairs && row.array.shape(1) != width)) {
        const std::string what = width ? "(L, " + std::to_string(width) + ")" : "(L,)";
        throw py::value_error(place(r) + " must have shape " + what + ", got " +
                              std::string(py::str(row.array.attr("shape"))));
      }
      filler.array(row, to, r);
      continue;
    }
    const auto where = [r] { return place(r); };
    const bool whole = row.length == row.total;  // the common case has no question to ask of each element
    if (width) {
      filler.entries(row.items, row.total, [&](int64_t i) { return filler.target(row, to, i); }, where);
    } else if (whole) {
      filler.numbers(row.items, row.total, [to](int64_t i) { return to + i; }, where);
    } else {
      filler.numbers(row.items, row.total, [&](int64_t i) { return filler.target(row, to, i); }, where);
    }
  }
  return out;
}

// sslfast/host/pad_sequences.py has checked everything but the rows. length: of the result, or -1 for the longest row's
// rounded up to a multiple.
py::array pad_sequences(const py::object& sequences, int64_t padding, int64_t length, int64_t multiple,
                        const std::string& dtype, bool left, std::optional<int64_t> none_value, const std::string& keep,
                        bool bools) {
  // A tuple of our own: code behind __index__ or __array__ cannot take rows away.
  const auto held = py::reinterpret_steal<py::object>(PySequence_Tuple(sequences.ptr()));
  if (!held) throw py::error_already_set();
  std::vector<Row> rows;
  const int64_t count = PyTuple_GET_SIZE(held.ptr());
  rows.reserve(count);
  int64_t longest = 0;
  for (int64_t r = 0; r < count; ++r) {
    rows.push_back(read_row(PyTuple_GET_ITEM(held.ptr(), r), r, bools));
    Row& row = rows.back();
    if (length >= 0 && row.total > length && keep.empty()) {
      throw py::value_error(place(r) + " must have at most " + std::to_string(length) + " elements, the length, got " +
                            std::to_string(row.total));
    }
    row.length = length >= 0 ? std::min(row.total, length) : row.total;
    row.first = keep == "last" ? row.total - row.length : 0;
    longest = std::max(longest, row.length);
  }
  if (length < 0) length = (longest + multiple - 1) / multiple * multiple;
  const int64_t width = entry_width(rows);
  if (dtype == "int64") return fill<int64_t>(rows, length, width, padding, left, none_value, bools);
  if (dtype == "int32") return fill<int32_t>(rows, length, width, padding, left, none_value, bools);
  if (dtype == "int16") return fill<int16_t>(rows, length, width, padding, left, none_value, bools);
  return fill<uint8_t>(rows, length, width, padding, left, none_value, bools);
}

}  // namespace

void bind_pad_sequences(py::module_& m) { m.def("pad_sequences", &pad_sequences); }

}  // namespace sslfast::host
