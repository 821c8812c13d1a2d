// Normalisation of x (N, G, D, M): D channels in each of G groups, M pixels, as in
// `tensor/normalization.py`. A set that is standardised is a group, of one item or with `batch` of
// all. `moments` has the mean of each set, then 1 / sqrt(variance + eps) of each. T is the type of
// the numbers, I that of the integers that count them; sums are in double. Null pointers stand for a
// weight of ones and a bias of zeros.

struct Form { I N, G, D, M, batch, silu; };

// Number e of a set, and its channel.
struct Set {
    I first, channel, items, size, next;

    __device__ Set(const Form& f, I set)
        : first(set * f.D * f.M), channel(set % f.G * f.D), items(f.batch ? f.N : 1),
          size(f.D * f.M), next(f.G * f.D * f.M) {}
    __device__ I count() const { return items * size; }
    __device__ I place(I e) const { return first + e / size * next + e % size; }
    __device__ I channel_of(I e, const Form& f) const { return channel + e % size / f.M; }
};

__device__ double sum_of_block(double mine) {
    __shared__ double sums[1024];
    __syncthreads();
    sums[threadIdx.x] = mine;
    for (int half = blockDim.x / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    __syncthreads();
    return sums[0];
}

__device__ T scale(const T* weight, I c) { return weight ? weight[c] : T(1); }
__device__ T shift(const T* bias, I c) { return bias ? bias[c] : T(0); }
__device__ T sigmoid(T x) { return 1 / (1 + exp(-x)); }

// The gradient of what SiLU is applied to.
__device__ T through_silu(T g, T x) {
    const T s = sigmoid(x);
    return g * (s + x * s * (1 - s));
}

extern "C" __global__ void minigen_normalize(
    const T* x, const T* weight, const T* bias, T* y, double* moments, double eps, const Form* form
) {
    const Form f = *form;
    const Set set(f, blockIdx.x);
    const I count = set.count();
    double sum = 0, squares = 0;
    for (I e = threadIdx.x; e < count; e += blockDim.x) sum += x[set.place(e)];
    const double mean = sum_of_block(sum) / count;
    for (I e = threadIdx.x; e < count; e += blockDim.x) {
        const double centred = x[set.place(e)] - mean;
        squares += centred * centred;
    }
    const double rstd = rsqrt(sum_of_block(squares) / count + eps);
    for (I e = threadIdx.x; e < count; e += blockDim.x) {
        const I p = set.place(e), c = set.channel_of(e, f);
        const T v = T((x[p] - mean) * (rstd * scale(weight, c)) + shift(bias, c));
        y[p] = f.silu ? v * sigmoid(v) : v;
    }
    if (!threadIdx.x) {
        moments[blockIdx.x] = mean;
        moments[gridDim.x + blockIdx.x] = rstd;
    }
}

// With h = (x - mean) rstd and gh = g weight: gx = rstd (gh - mean(gh) - h mean(gh h)).

extern "C" __global__ void minigen_normalize_vjp(
    const T* g, const T* x, const T* weight, const T* bias, const double* moments, T* gx,
    const Form* form
) {
    const Form f = *form;
    const Set set(f, blockIdx.x);
    const I count = set.count();
    const double mean = moments[blockIdx.x], rstd = moments[gridDim.x + blockIdx.x];
    double sum_gh = 0, sum_ghh = 0;
    for (I e = threadIdx.x; e < count; e += blockDim.x) {
        const I p = set.place(e), c = set.channel_of(e, f);
        const double h = (x[p] - mean) * rstd;
        const T v = T(h * scale(weight, c) + shift(bias, c));
        const T through = f.silu ? through_silu(g[p], v) : g[p];
        gx[p] = through;
        const double gh = double(through) * scale(weight, c);
        sum_gh += gh;
        sum_ghh += gh * h;
    }
    const double mean_gh = sum_of_block(sum_gh) / count, mean_ghh = sum_of_block(sum_ghh) / count;
    for (I e = threadIdx.x; e < count; e += blockDim.x) {
        const I p = set.place(e);
        const double gh = double(gx[p]) * scale(weight, set.channel_of(e, f));
        gx[p] = T((gh - mean_gh - (x[p] - mean) * rstd * mean_ghh) * rstd);
    }
}

// g_weight = sum g h and g_bias = sum g, of one channel in each block.

extern "C" __global__ void minigen_affine_vjp(
    const T* g, const T* x, const T* weight, const T* bias, const double* moments, T* g_affine,
    const Form* form
) {
    const Form f = *form;
    const I c = blockIdx.x, channels = f.G * f.D, sets = f.batch ? f.G : f.N * f.G;
    double sum_g = 0, sum_gh = 0;
    for (I e = threadIdx.x; e < f.N * f.M; e += blockDim.x) {
        const I n = e / f.M, p = (n * channels + c) * f.M + e % f.M;
        const I set = (f.batch ? 0 : n * f.G) + c / f.D;
        const double h = (x[p] - moments[set]) * moments[sets + set];
        const T v = T(h * scale(weight, c) + shift(bias, c));
        const T through = f.silu ? through_silu(g[p], v) : g[p];
        sum_g += through;
        sum_gh += through * h;
    }
    sum_g = sum_of_block(sum_g);
    sum_gh = sum_of_block(sum_gh);
    if (!threadIdx.x) {
        g_affine[c] = T(sum_gh);
        g_affine[channels + c] = T(sum_g);
    }
}

// What batch norm remembers: (1 - momentum) old + momentum new, of the means and of the variances of
// the channels, the new ones those of x and unbiased.

extern "C" __global__ void minigen_running(
    const T* x, const T* mean, const T* var, T* new_mean, T* new_var, double momentum,
    const Form* form
) {
    const Form f = *form;
    const I c = blockIdx.x, channels = f.G * f.D, count = f.N * f.M;
    double sum = 0, squares = 0;
    for (I e = threadIdx.x; e < count; e += blockDim.x)
        sum += x[(e / f.M * channels + c) * f.M + e % f.M];
    const double own = sum_of_block(sum) / count;
    for (I e = threadIdx.x; e < count; e += blockDim.x) {
        const double centred = x[(e / f.M * channels + c) * f.M + e % f.M] - own;
        squares += centred * centred;
    }
    squares = sum_of_block(squares) / (count - 1);
    if (!threadIdx.x) {
        new_mean[c] = T((1 - momentum) * mean[c] + momentum * own);
        new_var[c] = T((1 - momentum) * var[c] + momentum * squares);
    }
}
