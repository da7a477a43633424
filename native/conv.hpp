// A convolution with what follows it, as blocked products of packed weights and columns.
//
// A chunk is a range of positions of one image; a task is a chunk and a part of the output
// channels. A thread gathers a chunk's columns once for the tasks of that chunk that it runs.
#pragma once

#include <type_traits>
#include <utility>

#include "conv_finish.hpp"
#include "conv_pack.hpp"

namespace snnc {

void* scratch(size_t bytes, int slot);
// Whether this thread's columns are those of a chunk in a run; if not, they are taken to be now.
bool holds_columns(uint64_t run, size_t chunk);

namespace SNNC_ISA {
namespace conv {

#if defined(__AVX512F__)
constexpr size_t kTileRows = 8, kTileVectors = 3, kTilePositions = 14, kTileBlocks = 2;
#else
constexpr size_t kTileRows = 4, kTileVectors = 3, kTilePositions = 6, kTileBlocks = 2;
#endif

// Positions whose sums are finished at once, while they are in the first cache.
constexpr size_t kRowStretch = kTileVectors * kLanes, kPositionStretch = 14 * kTilePositions;
constexpr size_t kStretch = up_to_multiple(
    kRowStretch > kPositionStretch ? kRowStretch : kPositionStretch, kLanes);

constexpr size_t kColumnWords = 128 << 10;  // of a chunk: they are to stay in the second cache
constexpr size_t kMostPositions = 4000;
constexpr size_t kTasks = 16;
constexpr int kColumnSlot = 5;

inline size_t clamp(size_t n, size_t low, size_t high) {
  return n < low ? low : n > high ? high : n;
}

// Positions of a chunk: as many as stay in the cache, but enough chunks for every thread.
template <class Product>
size_t chunk_of(const ConvShape& s, size_t unit, size_t blocks) {
  const ColumnLayout layout = ColumnLayout::of(s, image_of<Product>(s).planes);
  const size_t fit = kColumnWords / layout.copies;
  const size_t most = clamp(fit > layout.halo ? fit - layout.halo : 0, unit, kMostPositions);
  const size_t n = s.output_area(), chunks = parts_of(n, most / unit * unit);
  const size_t wanted = parts_of(kTasks, s.batch * s.groups * blocks);
  return up_to_multiple(parts_of(n, chunks > wanted ? chunks : wanted), unit);
}

template <class Product>
ConvPlan plan(const ConvShape& s) {
  const size_t n = s.output_area();
  const size_t with_positions = up_to_multiple(n, kLanes) * up_to_multiple(s.outputs, kTileRows);
  const size_t with_channels = n * up_to_multiple(s.outputs, kLanes);
  const size_t blocks = parts_of(s.outputs, kTileBlocks * kLanes);
  ConvPlan p{};
  p.positions_in_lanes = with_positions * 100 <= with_channels * 103;
  const size_t unit = p.positions_in_lanes ? kRowStretch : kTilePositions;
  p.chunk = chunk_of<Product>(s, unit, blocks);
  p.chunks = parts_of(n, p.chunk);
  const size_t chunks = s.batch * s.groups * p.chunks;
  p.part = kTileBlocks * parts_of(blocks, clamp(kTasks / chunks, 1, blocks));
  p.parts = parts_of(parts_of(s.outputs, kLanes), p.part);
  p.tasks = chunks * p.parts;
  return p;
}

// The columns of a chunk, gathered or where they lie in the image; words of a position's depth
// are at offsets from it.
struct Columns {
  const uint32_t* words;
  const uint32_t* offsets;
};

// Sums over a stretch of positions.
template <class Product>
struct Products {
  using Sum = typename Product::Sum;
  using Tile = void (*)(const TileArguments<Sum>&);

  Columns columns;
  size_t depth, block;  // words of a position's depth; of a block's weights

  // sums[row][position] of `rows` rows from `first` on, which lie in one block.
  void rows(const uint32_t* weights, size_t first, size_t rows, size_t position, size_t n,
            Sum* sums) const {
    const uint32_t* w = weights + first / kLanes * block + first % kLanes;
    row_tile(rows, parts_of(n, kLanes))(
        {w, 0, columns.words + position, columns.offsets, depth, sums, kStretch});
  }

  // The same of whole blocks of rows from `first` on, by way of turned[position][row].
  void blocks(const uint32_t* weights, size_t first, size_t blocks, size_t position, size_t n,
              Sum* turned, Sum* sums) const {
    const uint32_t* w = weights + first / kLanes * block;
    const size_t tiles = parts_of(n, kTilePositions), width = blocks * kLanes;
    for (size_t i = 0; i < tiles; ++i) {
      const size_t p = i * n / tiles, end = (i + 1) * n / tiles;
      position_tile(end - p, blocks)({w, block, columns.words + position + p, columns.offsets,
                                      depth, turned + p * width, width});
    }
    for (size_t p = 0; p < n; p += kLanes)
      for (size_t r = 0; r < width; r += kLanes)
        transpose_square(turned + p * width + r, width, sums + r * kStretch + p, kStretch);
  }

 private:
  template <int kRows>
  static Tile row_tile(size_t vectors) {
    static constexpr Tile tiles[] = {tile_of_rows<Product, kRows, 1>,
                                     tile_of_rows<Product, kRows, 2>,
                                     tile_of_rows<Product, kRows, 3>};
    return tiles[vectors - 1];
  }
  static Tile row_tile(size_t rows, size_t vectors) {
    if (rows > 4) return row_tile<kTileRows>(vectors);
    if (rows > 2) return row_tile<4>(vectors);
    return rows == 2 ? row_tile<2>(vectors) : row_tile<1>(vectors);
  }

  template <int... kPositions>
  static Tile position_tile(size_t positions, size_t blocks,
                            std::integer_sequence<int, kPositions...>) {
    static constexpr Tile tiles[][kTileBlocks] = {
        {tile_of_positions<Product, kPositions + 1, 1>,
         tile_of_positions<Product, kPositions + 1, 2>}...};
    return tiles[positions - 1][blocks - 1];
  }
  static Tile position_tile(size_t positions, size_t blocks) {
    return position_tile(positions, blocks, std::make_integer_sequence<int, kTilePositions>{});
  }
};

// Where a task works, as numbers of things.
struct TaskPlace {
  size_t group, chunk, position, positions, block, blocks;  // group: over all images
};

inline TaskPlace place_of(const ConvShape& s, const ConvPlan& p, size_t task) {
  TaskPlace t{};
  const size_t part = task % p.parts;
  t.chunk = task / p.parts;
  t.group = t.chunk / p.chunks;
  t.position = t.chunk % p.chunks * p.chunk;
  t.positions = clamp(s.output_area() - t.position, 0, p.chunk);
  const size_t blocks = parts_of(s.outputs, kLanes);
  t.block = part * p.part;
  t.blocks = clamp(blocks - t.block, 0, p.part);
  return t;
}

// A task's scratch memory, in words from its start.
struct Workspace {
  size_t column_stride;
  size_t sums, turned, offsets, pieces, bytes;
  template <class Product>
  static Workspace of(const ConvShape& s, const ConvPlan& p) {
    Workspace w{};
    const ColumnLayout layout = ColumnLayout::of(s, image_of<Product>(s).planes);
    // odd in vectors, so that rows spread over the cache
    w.column_stride = (parts_of(p.chunk + layout.halo, kLanes) | 1) * kLanes;
    w.sums = layout.copies * w.column_stride + kTileVectors * kLanes;
    w.turned = w.sums + kTileBlocks * kLanes * kStretch;
    w.offsets = w.turned + kTileBlocks * kLanes * kStretch;
    w.pieces = up_to_multiple(w.offsets + depth_of<Product>(s), 2);
    w.bytes = w.pieces * sizeof(uint32_t) + (p.chunk + layout.halo) * sizeof(Piece);
    return w;
  }
};

template <class Product>
Columns columns_of(const ConvShape& s, const ConvPlan& p, const TaskPlace& t,
                   const uint32_t* image, uint32_t* memory, const Workspace& w, uint64_t run) {
  const Image planes = image_of<Product>(s);
  const size_t group_words = planes.planes * planes.area();
  const uint32_t* group = image + t.group * group_words;
  const size_t words = image_words<Product>(s);
  const uint32_t* end = image + (words ? words : s.batch * s.groups * group_words);
  const size_t read = p.positions_in_lanes ? up_to_multiple(t.positions, kLanes) : t.positions;
  const bool in_place =
      s.pointwise() && group + (planes.planes - 1) * planes.area() + t.position + read <= end;
  if (!holds_columns(run, t.chunk)) {
    fill_offsets<Product>(s, in_place ? planes.area() : w.column_stride, memory + w.offsets);
    Piece* pieces = reinterpret_cast<Piece*>(memory + w.pieces);
    if (!in_place)
      fill_columns<Product>(s, group, end, t.position, t.positions, memory, w.column_stride,
                            pieces);
  }
  return {in_place ? group + t.position : memory, memory + w.offsets};
}

// run: not 0, and another for every call.
template <class Product>
void run(const ConvShape& s, const ConvPlan& p, const uint32_t* weights, const void* image,
         const ConvFinish& f, uint64_t run, size_t task) {
  using Sum = typename Product::Sum;
  using Affine = std::conditional_t<sizeof(typename Product::Input) == 1, ScaleAndBias, Bias>;
  const TaskPlace t = place_of(s, p, task);
  const Workspace w = Workspace::of<Product>(s, p);
  auto* memory = static_cast<uint32_t*>(scratch(w.bytes, kColumnSlot));
  const Products<Product> products{
      columns_of<Product>(s, p, t, static_cast<const uint32_t*>(image), memory, w, run),
      depth_of<Product>(s), block_words<Product>(s)};
  Sum* sums = reinterpret_cast<Sum*>(memory + w.sums);
  Sum* turned = reinterpret_cast<Sum*>(memory + w.turned);
  const size_t group = t.group % s.groups, area = s.output_area();
  const uint32_t* group_weights =
      weights + group * parts_of(s.outputs, kLanes) * block_words<Product>(s);
  const Finisher<Sum> finish = finisher_of<Affine, Sum>(f);
  const size_t end = clamp((t.block + t.blocks) * kLanes, 0, s.outputs);
  const size_t rows_at_once = p.positions_in_lanes ? kTileRows : kTileBlocks * kLanes;
  const size_t stretch = p.positions_in_lanes ? kRowStretch : kPositionStretch;
  for (size_t row = t.block * kLanes; row < end; row += rows_at_once)
    for (size_t i = 0; i < t.positions; i += stretch) {
      const size_t rows = clamp(end - row, 0, rows_at_once);
      const size_t n = clamp(t.positions - i, 0, stretch);
      const size_t place = (t.group * s.outputs + row) * area + t.position + i;
      const Block<Sum> block{sums, kStretch, group * s.outputs + row, rows, n, place, area};
      fetch_block(block, f);
      if (p.positions_in_lanes)
        products.rows(group_weights, row, rows, i, n, sums);
      else
        products.blocks(group_weights, row, parts_of(rows, kLanes), i, n, turned, sums);
      finish(block, f);
    }
}

template <class Product>
constexpr ConvKernels conv_kernels() {
  return {weight_words<Product>, pack_weights<Product>, image_words<Product>, image_tasks<Product>,
          fill_image<Product>,   plan<Product>,         run<Product>};
}

}  // namespace conv
}  // namespace SNNC_ISA
}  // namespace snnc
