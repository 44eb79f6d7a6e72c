// What a weight chain promises, counted where it does not hold. Part of compression_impl.h.

// Bits are compared, not numbers: while denormals are flushed, they compare equal to 0.
template <typename V>
typename V::I bits_of(typename V::F v) {
  typename V::I bits;
  __builtin_memcpy(&bits, &v, sizeof bits);
  return bits;
}

// Looks an index up that has been checked, unlike the fetchers of sources.
struct SharedTable {
  const float* x;
  template <typename V>
  typename V::F get(typename V::I index, int64_t) const {
    return V::gather(x, index);
  }
};

struct ChannelTable {
  const float* x;
  int32_t stride;
  template <typename V>
  typename V::F get(typename V::I index, int64_t column) const {
    return V::gather(x, (V::iota() + static_cast<int32_t>(column)) * stride + index);
  }
};

#if PCQAT_LANES == 16
struct RegisterTable {
  const float* x;
  SmallTable registers;
  template <typename V>
  typename V::F get(typename V::I index, int64_t) const {
    if constexpr (V::lanes == 1)
      return x[index];
    else
      return registers.floats(index);
  }
};
#endif

struct Counter {
  Wide::I wide = Wide::integers(0);
  Single::I single = 0;

  template <typename V, typename M>
  void add(M broken) {
    if constexpr (V::lanes == 1)
      single = V::count(single, broken);
    else
      wide = V::count(wide, broken);
  }
  int64_t total() const {
    int32_t lanes[Wide::lanes];
    Wide::store(lanes, wide);
    int64_t sum = single;
    for (int64_t lane = 0; lane < Wide::lanes; ++lane) sum += lanes[lane];
    return sum;
  }
};

template <typename V>
void count_nonzero(const float* used, const uint8_t* mask, Counter* counter) {
  const auto magnitude = bits_of<V>(V::load(used)) & V::integers(0x7fffffff);
  counter->add<V>((V::keep(mask) ? V::integers(0) : magnitude) != V::integers(0));
}

template <typename V, typename Table>
void count_strangers(const float* used, const int32_t* indices, int32_t k, const Table& table, int64_t column, Counter* counter) {
  const auto value = bits_of<V>(V::load(used));
  const auto index = V::load(indices);
  const auto valid = (index >= V::integers(0)) & (index < V::integers(k));
  const auto entry = bits_of<V>(table.template get<V>(valid ? index : V::integers(0), column));
  counter->add<V>((valid ? entry : ~value) != value);
}

template <typename Table>
void count_with_table(int64_t rows, int64_t columns, const float* used, const uint8_t* mask, const Source& s, const Table& table,
                      ChainViolations* violations) {
  Counter zeros, clusters;
  const int32_t k = static_cast<int32_t>(s.k);
  const auto run = [&](auto&& body) { walk_flat(rows, columns, s, body); };
  if (mask == nullptr) {
    run([&](auto v, int64_t i, int64_t c) { count_strangers<decltype(v)>(used + i, s.indices + i, k, table, c, &clusters); });
  } else {
    run([&](auto v, int64_t i, int64_t c) {
      count_nonzero<decltype(v)>(used + i, mask + i, &zeros);
      count_strangers<decltype(v)>(used + i, s.indices + i, k, table, c, &clusters);
    });
  }
  violations->zeros += zeros.total();
  violations->clusters += clusters.total();
}

void count_violations(int64_t rows, int64_t columns, const float* used, const uint8_t* mask, const Source& table,
                      ChainViolations* violations) {
  if (table.indices == nullptr) {
    if (mask == nullptr) return;
    Counter zeros;
    walk(1, rows * columns, [&](auto v, int64_t i, int64_t) { count_nonzero<decltype(v)>(used + i, mask + i, &zeros); });
    violations->zeros += zeros.total();
    return;
  }
  const auto count = [&](const auto& entries) { count_with_table(rows, columns, used, mask, table, entries, violations); };
  if (table.stride != 0) return count(ChannelTable{table.x, static_cast<int32_t>(table.stride)});
#if PCQAT_LANES == 16
  if (table.k <= 32) return count(RegisterTable{table.x, SmallTable(table.x, table.k)});
#endif
  count(SharedTable{table.x});
}
