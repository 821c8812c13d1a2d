// The sum of an array over some of its dimensions, divided by a number, in double. T is the type of
// the numbers, I that of the integers that count them.

struct Form {
    I results, terms;
    I kept[3], kept_strides[3], summed[3], summed_strides[3];  // outermost first; 1, where fewer
    I width;  // how many results a block makes
};

// Where number k of an array of three dimensions lies.
__device__ I place(I k, const I* sizes, const I* strides) {
    const I i = k % sizes[2], j = k / sizes[2] % sizes[1], rest = k / sizes[2] / sizes[1];
    return rest * strides[0] + j * strides[1] + i * strides[2];
}

extern "C" __global__ void minigen_total(const T* x, T* y, double divisor, const Form* form) {
    __shared__ double sums[1024];
    const int thread = threadIdx.x, width = form->width, rows = blockDim.x / width;
    const I result = I(blockIdx.x) * width + thread % width;
    double sum = 0;
    if (result < form->results) {
        const T* first = x + place(result, form->kept, form->kept_strides);
        for (I k = thread / width; k < form->terms; k += rows)
            sum += first[place(k, form->summed, form->summed_strides)];
    }
    sums[thread] = sum;
    for (int half = rows / 2; half; half /= 2) {
        __syncthreads();
        if (thread < half * width) sums[thread] += sums[thread + half * width];
    }
    if (thread < width && result < form->results) y[result] = T(sums[thread] / divisor);
}
