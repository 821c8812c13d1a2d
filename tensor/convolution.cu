// Convolution of images (N, C, H, W), which may lie in memory in any order, without their columns:
// each block of threads makes one tile of a matrix product, and reads what it needs of its factors
// where it lies. T is the type of the numbers, Sum that of sums of many, I that of the integers that
// count them.

struct Form {
    I N, C, H, W, O, h, w, kh, kw;  // of x (N, C, H, W), weight (O, C, kh, kw) and y (N, O, h, w)
    I x_n, x_c, x_h, x_w;           // the strides of x, in elements,
    I w_o, w_c, w_h, w_w;           // of weight, or of the gradient of y in its place (n, o, h, w),
    I b_o;                          // and of bias
    I step_h, step_w, tap_h, tap_w, shift_h, shift_w, phases_h, phases_w;
    I share;                        // how many pixels of y there are in a share,
    I s_row, s_o;                   // and the strides of its sums
};

// Pixel p of y sees by tap k pixel (step p + tap k + shift) / phases of x, if that is an integer:
// forwards step is the stride and phases 1; backwards step is 1 and phases the stride. So pixels
// p, p + phases, ..., of one phase, see by the same taps. A block makes them for some channels.

enum { THREADS = 128, PIXELS = 64, CHANNELS = 32, DEPTH = 16 };

extern "C" __global__ void minigen_convolve(
    const T* x, const T* weight, const T* bias, T* y, const Form* form
) {
    __shared__ T seen[DEPTH][PIXELS], taps[DEPTH][CHANNELS];
    const Form f = *form;
    const int thread = threadIdx.x, column = thread % PIXELS;
    const I phases = f.phases_h * f.phases_w, phase = blockIdx.x % phases;
    const I i = phase / f.phases_w, j = phase % f.phases_w, o0 = blockIdx.y * CHANNELS;
    const I h = (f.h - i + f.phases_h - 1) / f.phases_h, w = (f.w - j + f.phases_w - 1) / f.phases_w;
    const I start = blockIdx.x / phases * PIXELS;
    if (h <= 0 || w <= 0) return;

    const I place = start + column, n = place / w / h;  // the pixel whose sight this thread loads
    const I a = i + f.phases_h * (place / w % h), b = j + f.phases_w * (place % w);
    T sum[4][4] = {};  // of pixels row + 16 q and channels column + 8 r
    for (I k = 0; k < f.kh; ++k) {
        const I u = f.step_h * a + f.tap_h * k + f.shift_h;
        if (u % f.phases_h) continue;
        for (I l = 0; l < f.kw; ++l) {
            const I v = f.step_w * b + f.tap_w * l + f.shift_w;
            if (v % f.phases_w) continue;
            const I U = u / f.phases_h, V = v / f.phases_w;
            const bool inside = n < f.N && 0 <= U && U < f.H && 0 <= V && V < f.W;
            const T* pixel = x + n * f.x_n + U * f.x_h + V * f.x_w;
            for (I c0 = 0; c0 < f.C; c0 += DEPTH) {
                __syncthreads();
                for (int d = thread / PIXELS; d < DEPTH; d += THREADS / PIXELS)
                    seen[d][column] = inside && c0 + d < f.C ? pixel[(c0 + d) * f.x_c] : T(0);
                for (int e = thread; e < DEPTH * CHANNELS; e += THREADS) {
                    const I c = c0 + e / CHANNELS, o = o0 + e % CHANNELS;
                    taps[e / CHANNELS][e % CHANNELS] = c < f.C && o < f.O
                        ? weight[o * f.w_o + c * f.w_c + k * f.w_h + l * f.w_w] : T(0);
                }
                __syncthreads();
                for (int d = 0; d < DEPTH; ++d)
                    for (int q = 0; q < 4; ++q)
                        for (int r = 0; r < 4; ++r)
                            sum[q][r] += seen[d][thread % 16 + 16 * q] * taps[d][thread / 16 + 8 * r];
            }
        }
    }
    for (int q = 0; q < 4; ++q) {
        const I place = start + thread % 16 + 16 * q, n = place / w / h;
        const I a = i + f.phases_h * (place / w % h), b = j + f.phases_w * (place % w);
        for (int r = 0; r < 4; ++r) {
            const I o = o0 + thread / 16 + 8 * r;
            if (n < f.N && o < f.O)
                y[((n * f.O + o) * f.h + a) * f.w + b] = sum[q][r] + (bias ? bias[o * f.b_o] : T(0));
        }
    }
}

// The gradients of weight and bias, as rows (kh kw C + 1, O), from x and the gradient g of y, whose
// strides stand in the place of those of weight. The last row is that of bias, which sees 1 at all
// pixels. A block makes some rows, for some o, from one share of the pixels: sums has those of all
// shares, and whichever block is the last to finish for its rows and o adds them up, always in the
// same order. `finished` counts them; atomicInc sets it back to 0.

enum { ROWS = 64, OUTPUTS = 32, SPAN = 32 };

extern "C" __global__ void minigen_weight_gradient(
    const T* x, const T* g, T* sums, T* gradient, I* finished, const Form* form
) {
    __shared__ T seen[ROWS][SPAN + 1], sent[OUTPUTS][SPAN + 1];
    __shared__ I row_c[ROWS], row_u[ROWS], row_v[ROWS];
    const Form f = *form;
    const int thread = threadIdx.x, lane = thread % SPAN;
    const I last = f.kh * f.kw * f.C, rows = last + 1, row0 = blockIdx.x * ROWS, o0 = blockIdx.y * OUTPUTS;
    if (thread < ROWS) {
        const I row = row0 + thread, tap = row / f.C;
        row_c[thread] = row % f.C * f.x_c;
        row_u[thread] = f.tap_h * (tap / f.kw) + f.shift_h;
        row_v[thread] = f.tap_w * (tap % f.kw) + f.shift_w;
    }
    const I pixels = f.N * f.h * f.w, start = blockIdx.z * f.share;
    const I end = start + f.share < pixels ? start + f.share : pixels;
    T sum[4][4] = {};  // of rows thread % 16 + 16 q and outputs thread / 16 + 8 r
    for (I place0 = start; place0 < end; place0 += SPAN) {
        const I place = place0 + lane, b = place % f.w, a = place / f.w % f.h, n = place / f.w / f.h;
        __syncthreads();
        for (int e = thread / SPAN; e < ROWS; e += THREADS / SPAN) {
            const I u = f.step_h * a + row_u[e], v = f.step_w * b + row_v[e];
            const bool inside = place < end && 0 <= u && u < f.H && 0 <= v && v < f.W;
            if (row0 + e >= last) seen[e][lane] = T(1);
            else seen[e][lane] = inside ? x[n * f.x_n + row_c[e] + u * f.x_h + v * f.x_w] : T(0);
        }
        for (int e = thread / SPAN; e < OUTPUTS; e += THREADS / SPAN)
            sent[e][lane] = place < end && o0 + e < f.O
                ? g[n * f.w_o + (o0 + e) * f.w_c + a * f.w_h + b * f.w_w] : T(0);
        __syncthreads();
        for (int d = 0; d < SPAN; ++d)
            for (int q = 0; q < 4; ++q)
                for (int r = 0; r < 4; ++r)
                    sum[q][r] += seen[thread % 16 + 16 * q][d] * sent[thread / 16 + 8 * r][d];
    }
    I at[4][4];  // where they go, or -1
    for (int q = 0; q < 4; ++q)
        for (int r = 0; r < 4; ++r) {
            const I row = row0 + thread % 16 + 16 * q, o = o0 + thread / 16 + 8 * r;
            at[q][r] = row < last ? row * f.s_row + o * f.s_o : last * f.O + o;
            if (row >= rows || o >= f.O) at[q][r] = -1;
            else sums[blockIdx.z * rows * f.O + at[q][r]] = sum[q][r];
        }
    if (gridDim.z == 1) return;  // sums is the gradient

    __shared__ bool is_last;
    __threadfence();
    __syncthreads();
    if (!thread) {
        I* counter = finished + blockIdx.y * gridDim.x + blockIdx.x;
        is_last = atomicInc((unsigned int*)counter, gridDim.z - 1) == gridDim.z - 1;
    }
    __syncthreads();
    if (!is_last) return;
    for (int q = 0; q < 4; ++q)
        for (int r = 0; r < 4; ++r) {
            if (at[q][r] < 0) continue;
            const volatile T* share = sums + at[q][r];
            Sum total = 0;
            for (unsigned z = 0; z < gridDim.z; ++z, share += rows * f.O) total += *share;
            gradient[at[q][r]] = T(total);
        }
}
