// Fake quantization and its gradient (spec 3.5). Part of compression_impl.h.

// One element or vector. `multiply` selects v * inverse instead of v / scale.
template <typename V, bool multiply>
typename V::F quantized(typename V::F x, typename V::F min, typename V::F max, typename V::F scale, typename V::F inverse,
                        typename V::F zero_code) {
  // NaN passes both comparisons and stays NaN.
  x = x > max ? max : x;
  x = x < min ? min : x;
  typename V::F code;
  if constexpr (multiply)
    code = (x - min) * inverse;
  else
    code = (x - min) / scale;
  return V::floor(code - zero_code + 0.5f) * scale;
}

void fill(int64_t count, float value, float* out) {
  walk(1, count, [&](auto v, int64_t i, int64_t) {
    using V = decltype(v);
    V::store(out + i, V::floats(value));
  });
}

template <bool multiply>
void fake_quantize_as(int64_t rows, int64_t columns, const Source& source, const NudgedRange& r, float* out) {
  with_fetch(source, [&](const auto fetch) {
    walk_flat(rows, columns, source, [&](auto v, int64_t i, int64_t c) {
      using V = decltype(v);
      V::store(out + i, quantized<V, multiply>(fetch.template get<V>(i, c), V::floats(r.min), V::floats(r.max), V::floats(r.scale),
                                               V::floats(r.inverse_scale), V::floats(r.zero_code)));
    });
  });
}

void fake_quantize(int64_t rows, int64_t columns, const Source& source, const NudgedRange& range, bool multiply, float* out) {
  if (range.is_nan)
    fill(rows * columns, __builtin_nanf(""), out);
  else if (range.is_zero)
    fill(rows * columns, 0, out);
  else if (multiply)
    fake_quantize_as<true>(rows, columns, source, range, out);
  else
    fake_quantize_as<false>(rows, columns, source, range, out);
}

// A single channel is better walked as one long row.
NudgedRange only_channel(const ChannelRanges& r) {
  NudgedRange range;
  range.min = r.min[0];
  range.max = r.max[0];
  range.scale = r.scale[0];
  range.inverse_scale = r.inverse_scale[0];
  range.zero_code = r.zero_code[0];
  range.is_zero = r.kind[0] == ChannelRanges::zero;
  range.is_nan = r.kind[0] == ChannelRanges::nan;
  return range;
}

void fake_quantize_channels(int64_t rows, int64_t columns, const Source& source, const ChannelRanges& r, float* out) {
  if (columns == 1) return fake_quantize(rows, 1, source, only_channel(r), true, out);
  with_fetch(source, [&](const auto fetch) {
    walk(rows, columns, [&](auto v, int64_t i, int64_t c) {
      using V = decltype(v);
      const auto y = quantized<V, true>(fetch.template get<V>(i, c), V::load(r.min + c), V::load(r.max + c), V::load(r.scale + c),
                                        V::load(r.inverse_scale + c), V::load(r.zero_code + c));
      const auto kind = V::load(r.kind + c);
      const auto special = kind == V::integers(ChannelRanges::zero) ? V::floats(0) : V::floats(__builtin_nanf(""));
      V::store(out + i, kind == V::integers(ChannelRanges::normal) ? y : special);
    });
  });
}

void fake_quantize_gradient(int64_t rows, int64_t columns, const Source& source, const NudgedRange& range, const float* dy, float* dx) {
  if (range.is_zero) return materialize(rows, columns, Source{dy}, dx);
  if (range.is_nan) return fill(rows * columns, 0, dx);
  with_fetch(source, [&](const auto fetch) {
    walk_flat(rows, columns, source, [&](auto v, int64_t i, int64_t c) {
      using V = decltype(v);
      const auto x = fetch.template get<V>(i, c);
      const auto inside = (x >= V::floats(range.min)) & (x <= V::floats(range.max));
      V::store(dx + i, inside ? V::load(dy + i) : V::floats(0));
    });
  });
}

void fake_quantize_gradient_channels(int64_t rows, int64_t columns, const Source& source, const ChannelRanges& r, const float* dy,
                                     float* dx) {
  if (columns == 1) return fake_quantize_gradient(rows, 1, source, only_channel(r), dy, dx);
  with_fetch(source, [&](const auto fetch) {
    walk(rows, columns, [&](auto v, int64_t i, int64_t c) {
      using V = decltype(v);
      const auto x = fetch.template get<V>(i, c);
      const auto kind = V::load(r.kind + c);
      const auto inside = ((x >= V::load(r.min + c)) & (x <= V::load(r.max + c)) & (kind == V::integers(ChannelRanges::normal))) |
                          (kind == V::integers(ChannelRanges::zero));
      V::store(dx + i, inside ? V::load(dy + i) : V::floats(0));
    });
  });
}
