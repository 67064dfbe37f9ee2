/* libcvm_runtime.so: the twelve functions that a Cortex node loads, as a client of a daemon.
 *
 * Nothing of the machine is decided here. Models, pictures and results lie in memory that is
 * shared with a process of ours (yolo_cvm.node.daemon), which answers over a Unix socket with the
 * original's return code. The process is started when it is needed and when it has died; a model
 * or a defect that ends it is RUNTIME to the call that it happened in, and the next call starts it
 * again, with the model that this library has kept. It ends when the node does, since the socket
 * closes then.
 *
 * Handles are numbers, never addresses, so that a freed or a foreign one is found out. There are
 * no threads, no signal handlers, and no names but the twelve (spec B).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

enum { SUCCEED = 0, LOGIC = 1, RUNTIME = 2 };
enum { LOAD = 1, SHARE = 2, INFER = 3, GAS = 4 };
enum { TEXT = 34, PAGE = 4096, DAEMON_SOCKET = 3, ANSWER_SECONDS = 300 };

#define GRAPH_LIMIT ((size_t)16 << 20)
#define PLACE_MARK "yolo-cvm interpreter:"

/* The interpreter that runs the daemon; `yolo-cvm node install` writes it behind the mark. */
static volatile const char place[PAGE] = PLACE_MARK;

extern char **environ;

/* One message each way; a request may carry a file descriptor. */
struct request {
  uint32_t kind;
  int32_t device;
  uint64_t first, second;
};
struct reply {
  int32_t code;
  int32_t unused;
  uint64_t storage, gas, input_length, input_type_size, output_length, output_type_size;
  char version[TEXT], method[TEXT];
};

/* A loaded model. Its files stay in `files`, for a daemon that takes the place of a dead one. */
struct model {
  uintptr_t handle;
  int users;
  struct model *next;
  pthread_mutex_t busy; /* one inference at a time */
  int files, device;
  uint64_t json_length, params_length;
  struct reply told;
  int connection; /* -1: none */
  char *shared;   /* input, then output */
  size_t shared_size, output_at;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct model *models;
static uintptr_t last_handle = 0x1000;
static int control = -1;
static pid_t daemon_process, owner;

static void close_socket(int *descriptor) {
  if (*descriptor >= 0) close(*descriptor);
  *descriptor = -1;
}

/* Sends a message with at most one descriptor; 0, or -1. */
static int send_message(int to, const void *data, size_t size, int descriptor) {
  struct iovec part = {(void *)data, size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  union {
    char room[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } extra;
  if (descriptor >= 0) {
    memset(&extra, 0, sizeof extra);
    message.msg_control = extra.room;
    message.msg_controllen = sizeof extra.room;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &descriptor, sizeof(int));
  }
  ssize_t sent;
  do sent = sendmsg(to, &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent == (ssize_t)size ? 0 : -1;
}

static void bury_daemon(void) {
  close_socket(&control);
  if (daemon_process > 0) {
    kill(daemon_process, SIGKILL);
    while (waitpid(daemon_process, NULL, 0) < 0 && errno == EINTR) continue;
  }
  daemon_process = 0;
}

/* Starts the daemon with a socket at DAEMON_SOCKET; 0, or -1. Under the lock. */
static int start_daemon(void) {
  char interpreter[PAGE];
  for (size_t i = 0; i < PAGE - sizeof PLACE_MARK; ++i)
    interpreter[i] = place[i + sizeof PLACE_MARK - 1];
  interpreter[PAGE - sizeof PLACE_MARK] = 0;
  if (!interpreter[0]) return -1;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) return -1;
  char *arguments[] = {interpreter, "-I", "-m", "yolo_cvm.node.daemon", NULL};
  posix_spawn_file_actions_t files;
  posix_spawnattr_t how;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&how);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&files, ends[1], DAEMON_SOCKET);
  posix_spawnattr_setsigmask(&how, &none);
  posix_spawnattr_setsigdefault(&how, &all);
  posix_spawnattr_setflags(
      &how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  pid_t process;
  const int failed = posix_spawn(&process, interpreter, &files, &how, arguments, environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&how);
  close(ends[1]);
  if (failed) {
    close(ends[0]);
    return -1;
  }
  control = ends[0];
  daemon_process = process;
  owner = getpid();
  return 0;
}

/* A new connection to the daemon, which is started where there is none; -1 where that fails. */
static int open_connection(void) {
  int ends[2] = {-1, -1}, given = -1;
  pthread_mutex_lock(&lock);
  if (owner != getpid()) { /* a fork of the process that started the daemon */
    close_socket(&control);
    daemon_process = 0;
  }
  for (int attempt = 0; attempt < 2 && given < 0; ++attempt) {
    if (control < 0 && start_daemon()) break;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) break;
    const char greeting = 1;
    if (send_message(control, &greeting, 1, ends[1]))
      bury_daemon();
    else
      given = ends[0];
    close(ends[1]);
    if (given < 0) close(ends[0]);
  }
  pthread_mutex_unlock(&lock);
  if (given >= 0) {
    const struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    setsockopt(given, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  return given;
}

/* The daemon's answer to a request; 0, or -1 where none came. */
static int ask(int connection, const struct request *request, int descriptor,
               struct reply *reply) {
  if (send_message(connection, request, sizeof *request, descriptor)) return -1;
  ssize_t got;
  do got = recv(connection, reply, sizeof *reply, 0);
  while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    pthread_mutex_lock(&lock);
    if (owner == getpid()) bury_daemon();
    pthread_mutex_unlock(&lock);
  }
  return got == (ssize_t)sizeof *reply ? 0 : -1;
}

/* A file in memory with these parts one after the other; -1 where that fails. */
static int file_of(const char *first, size_t first_size, const char *second, size_t second_size) {
  const char *parts[] = {first, second};
  const size_t sizes[] = {first_size, second_size};
  int descriptor = memfd_create("yolo-cvm", MFD_CLOEXEC);
  for (int part = 0; part < 2 && descriptor >= 0; ++part)
    for (size_t at = 0; at < sizes[part];) {
      const ssize_t done = write(descriptor, parts[part] + at, sizes[part] - at);
      if (done > 0)
        at += (size_t)done;
      else if (!(done < 0 && errno == EINTR)) {
        close_socket(&descriptor);
        break;
      }
    }
  return descriptor;
}

static void drop_connection(struct model *m) {
  close_socket(&m->connection);
  if (m->shared) munmap(m->shared, m->shared_size);
  m->shared = NULL;
}

/* Loads the model into the daemon, and shares memory for its pictures; a return code. */
static int open_model(struct model *m, struct reply *reply) {
  struct request load = {LOAD, m->device, m->json_length, m->params_length};
  m->connection = open_connection();
  if (m->connection < 0) return RUNTIME;
  if (ask(m->connection, &load, m->files, reply)) {
    drop_connection(m);
    return RUNTIME;
  }
  if (reply->code) {
    drop_connection(m);
    return reply->code;
  }
  m->output_at = (reply->input_length + PAGE - 1) / PAGE * PAGE;
  m->shared_size = m->output_at + (reply->output_length + PAGE - 1) / PAGE * PAGE;
  int memory = memfd_create("yolo-cvm", MFD_CLOEXEC);
  int code = RUNTIME;
  if (memory >= 0 && !ftruncate(memory, (off_t)m->shared_size)) {
    void *shared = mmap(NULL, m->shared_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                        memory, 0);
    struct request share = {SHARE, 0, m->output_at, m->shared_size};
    struct reply answer;
    if (shared != MAP_FAILED) {
      m->shared = shared;
      if (!ask(m->connection, &share, memory, &answer)) code = answer.code;
    }
  }
  if (memory >= 0) close(memory);
  if (code) drop_connection(m);
  return code;
}

/* Whether the daemon behind a connection is gone: nothing is ever to be read between requests. */
static int has_ended(int connection) {
  struct pollfd look = {.fd = connection, .events = POLLIN};
  return poll(&look, 1, 0) != 0;
}

static void free_model(struct model *m) {
  drop_connection(m);
  close_socket(&m->files);
  pthread_mutex_destroy(&m->busy);
  free(m);
}

/* The model of a handle, which stays until `release`; NULL for a handle that is none. */
static struct model *hold(void *net) {
  pthread_mutex_lock(&lock);
  struct model *m = models;
  while (m && m->handle != (uintptr_t)net) m = m->next;
  if (m) ++m->users;
  pthread_mutex_unlock(&lock);
  return m;
}

static void release(struct model *m) {
  pthread_mutex_lock(&lock);
  const int last = --m->users == 0;
  pthread_mutex_unlock(&lock);
  if (last) free_model(m);
}

API int CVMAPILoadModel(const char *json, int json_len, const char *params, int params_len,
                        void **net, int device_type, int device_id) {
  (void)device_id;
  if (!net || (!json && json_len > 0) || (!params && params_len > 0)) return RUNTIME;
  if (json_len < 0 || params_len < 0) return LOGIC;
  struct model *m = calloc(1, sizeof *m);
  if (!m) return RUNTIME;
  pthread_mutex_init(&m->busy, NULL);
  m->connection = -1;
  m->device = device_type;
  m->json_length = (uint64_t)json_len;
  m->params_length = (uint64_t)params_len;
  m->files = file_of(json, (size_t)json_len, params, (size_t)params_len);
  m->users = 1;
  const int code = m->files < 0 ? RUNTIME : open_model(m, &m->told);
  if (code) {
    free_model(m);
    return code;
  }
  pthread_mutex_lock(&lock);
  m->handle = last_handle += 16;
  m->next = models;
  models = m;
  pthread_mutex_unlock(&lock);
  *net = (void *)m->handle;
  return SUCCEED;
}

API int CVMAPIFreeModel(void *net) {
  if (!net) return SUCCEED;
  pthread_mutex_lock(&lock);
  struct model **link = &models;
  while (*link && (*link)->handle != (uintptr_t)net) link = &(*link)->next;
  struct model *m = *link;
  if (m) *link = m->next;
  pthread_mutex_unlock(&lock);
  if (!m) return RUNTIME;
  release(m);
  return SUCCEED;
}

API int CVMAPIInference(void *net, char *input, int input_len, char *output) {
  if (!input || !output) return RUNTIME;
  struct model *m = hold(net);
  if (!m) return RUNTIME;
  if (input_len < 0) {
    release(m);
    return LOGIC;
  }
  pthread_mutex_lock(&m->busy);
  struct reply reply;
  int code = SUCCEED;
  if (m->connection >= 0 && has_ended(m->connection)) drop_connection(m);
  if (m->connection < 0) code = open_model(m, &reply);
  if (!code) {
    struct request request = {INFER, 0, (uint64_t)input_len, 0};
    if ((uint64_t)input_len <= m->told.input_length) memcpy(m->shared, input, (size_t)input_len);
    if (ask(m->connection, &request, -1, &reply)) {
      drop_connection(m);
      code = RUNTIME;
    } else {
      code = reply.code;
      if (!code) memcpy(output, m->shared + m->output_at, m->told.output_length);
    }
  }
  pthread_mutex_unlock(&m->busy);
  release(m);
  return code;
}

static int figure(void *net, unsigned long long *value, size_t offset) {
  struct model *m = value ? hold(net) : NULL;
  if (!m) return RUNTIME;
  *value = *(const uint64_t *)((const char *)&m->told + offset);
  release(m);
  return SUCCEED;
}

static int text(void *net, char *to, size_t offset) {
  struct model *m = to ? hold(net) : NULL;
  if (!m) return RUNTIME;
  memcpy(to, (const char *)&m->told + offset, TEXT);
  release(m);
  return SUCCEED;
}

#define FIGURE(name, field)                                      \
  API int name(void *net, unsigned long long *value) {           \
    return figure(net, value, offsetof(struct reply, field));    \
  }
#define WORDS(name, field)                                       \
  API int name(void *net, char *to) {                            \
    return text(net, to, offsetof(struct reply, field));         \
  }

WORDS(CVMAPIGetVersion, version)
WORDS(CVMAPIGetPreprocessMethod, method)
FIGURE(CVMAPIGetInputLength, input_length)
FIGURE(CVMAPIGetOutputLength, output_length)
FIGURE(CVMAPIGetInputTypeSize, input_type_size)
FIGURE(CVMAPIGetOutputTypeSize, output_type_size)
FIGURE(CVMAPIGetStorageSize, storage)
FIGURE(CVMAPIGetGasFromModel, gas)

/* The length of the text up to the brace that closes it. It need not end with a NUL, so that no
 * byte is looked at before it is known to be needed, and no page before it is known to be there. */
static size_t graph_length(const char *json, int probe) {
  int depth = 0, quoted = 0, escaped = 0;
  size_t at = 0;
  for (; at < GRAPH_LIMIT; ++at) {
    const char *p = json + at;
    if (((uintptr_t)p & (PAGE - 1)) == 0 && pwrite(probe, p, 1, 0) != 1) return at;
    const char c = *p;
    if (!c) return at;
    if (escaped)
      escaped = 0;
    else if (quoted) {
      escaped = c == '\\';
      quoted = c != '"';
    } else if (c == '"')
      quoted = 1;
    else if (c == '{')
      ++depth;
    else if (c == '}' && --depth <= 0)
      return at + 1;
    if (!depth && !strchr(" \t\r\n", c)) return at + 1; /* no object begins here */
  }
  return at;
}

API int CVMAPIGetGasFromGraphFile(const char *json, unsigned long long *value) {
  if (!json || !value) return RUNTIME;
  int code = RUNTIME, probe = memfd_create("yolo-cvm", MFD_CLOEXEC);
  if (probe < 0) return RUNTIME;
  const size_t length = graph_length(json, probe);
  int file = file_of(json, length, NULL, 0), connection = open_connection();
  struct request request = {GAS, 0, length, 0};
  struct reply reply;
  if (file >= 0 && connection >= 0 && !ask(connection, &request, file, &reply)) {
    code = reply.code;
    if (!code) *value = reply.gas;
  }
  close_socket(&probe);
  close_socket(&file);
  close_socket(&connection);
  return code;
}
