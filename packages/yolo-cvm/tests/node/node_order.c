/* A node's calls in its order, from four threads: load, getters, then inferences, free.
 * Arguments: library, symbol, params, input, expected output. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *library;
static char *files[4];
static long sizes[4];
static unsigned long long gas;

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static void *look_up(const char *name) {
  void *function = dlsym(library, name);
  if (!function) fail(name);
  return function;
}

static char *read_file(const char *path, long *size) {
  FILE *file = fopen(path, "rb");
  if (!file) fail(path);
  fseek(file, 0, SEEK_END);
  *size = ftell(file);
  rewind(file);
  char *data = malloc((size_t)*size + 1);
  if (fread(data, 1, (size_t)*size, file) != (size_t)*size) fail(path);
  fclose(file);
  return data;
}

static unsigned long long figure(const char *name, void *net) {
  int (*get)(void *, unsigned long long *) = look_up(name);
  unsigned long long value = 0;
  if (get(net, &value)) fail(name);
  return value;
}

static void *node(void *unused) {
  int (*load)(const char *, int, const char *, int, void **, int, int) = look_up("CVMAPILoadModel");
  int (*infer)(void *, char *, int, char *) = look_up("CVMAPIInference");
  int (*release)(void *) = look_up("CVMAPIFreeModel");
  void *net = NULL;
  if (load(files[0], (int)sizes[0], files[1], (int)sizes[1], &net, 0, 0)) fail("load");
  figure("CVMAPIGetStorageSize", net);
  gas = figure("CVMAPIGetGasFromModel", net);
  if (figure("CVMAPIGetInputLength", net) != (unsigned long long)sizes[2]) fail("input length");
  figure("CVMAPIGetInputTypeSize", net);
  figure("CVMAPIGetOutputTypeSize", net);
  for (int run = 0; run < 10; ++run) {
    const unsigned long long room = figure("CVMAPIGetOutputLength", net);
    char *output = malloc(room);
    if (infer(net, files[2], (int)sizes[2], output)) fail("inference");
    if (room != (unsigned long long)sizes[3] || memcmp(output, files[3], room)) fail("bytes");
    free(output);
  }
  if (release(net) || !release(net)) fail("free");
  return unused;
}

int main(int count, char **arguments) {
  if (count != 6) fail("arguments");
  library = dlopen(arguments[1], RTLD_NOW | RTLD_GLOBAL);
  if (!library) fail(dlerror());
  for (int k = 0; k < 4; ++k) files[k] = read_file(arguments[2 + k], &sizes[k]);
  pthread_t threads[4];
  for (int k = 0; k < 4; ++k)
    if (pthread_create(&threads[k], NULL, node, NULL)) fail("thread");
  for (int k = 0; k < 4; ++k) pthread_join(threads[k], NULL);
  printf("gas %llu, 4 threads, 40 inferences\n", gas);
  return 0;
}
