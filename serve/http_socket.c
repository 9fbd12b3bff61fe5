/* SPDX-License-Identifier: MIT */
/*
 * A Unix socket is bound to a name beside its own, given its permissions, made to listen and only then linked to its
 * name: so nobody sees one that refuses, or that others may open, and an existing file is never replaced by accident.
 */
#include "serve/http_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"

#define BACKLOG 1024
#define SOCKET_MODE 0600

union name {
  struct sockaddr any;
  struct sockaddr_in ipv4;
  struct sockaddr_in6 ipv6;
  struct sockaddr_un local;
};

/* HA_RANK_HTTP; fd 0 is a free place, since none of ours has that number. */
static struct ha_socket open_sockets[HA_SOCKETS_MAX];

/* The name of our Unix socket; to know it again. */
static struct {
  dev_t device;
  ino_t inode;
  pid_t process;
} own_name;

static int result_of(long result) {
  return result < 0 ? -errno : (int)result;
}

static void close_fd(int fd) {
  syscall(SYS_close, fd);
}

static bool read_inode(int fd, uint64_t *inode) {
  struct stat stat;
  if (syscall(SYS_fstat, fd, &stat) != 0) {
    return false;
  }
  *inode = stat.st_ino;
  return true;
}

/* What is at a path, itself, not what it links to. */
static bool read_path(const char *path, struct stat *stat) {
  return syscall(SYS_newfstatat, AT_FDCWD, path, stat, AT_SYMLINK_NOFOLLOW) == 0;
}

static int remove_path(const char *path) {
  return result_of(syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

static int link_path(const char *from, const char *to) {
  return result_of(syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}

bool ha_socket_is_ours(const struct ha_socket *socket) {
  uint64_t inode;
  return socket->fd >= 0 && read_inode(socket->fd, &inode) && inode == socket->inode;
}

/* Moves a new descriptor out of the way if there is room. */
static int move_up(int fd) {
  int moved = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, HA_SOCKET_FD_MIN);
  if (moved < 0) {
    return fd;
  }
  close_fd(fd);
  return moved;
}

/* Puts a new descriptor into the table. */
static int adopt_locked(int fd, struct ha_socket *ret_socket) {
  ha_lock_assert_held(HA_RANK_HTTP);
  struct ha_socket socket = {move_up(fd), 0};
  for (int i = 0; i < HA_SOCKETS_MAX && read_inode(socket.fd, &socket.inode); i++) {
    if (open_sockets[i].fd == 0) {
      open_sockets[i] = socket;
      *ret_socket = socket;
      return 0;
    }
  }
  close_fd(socket.fd);
  return -EMFILE;
}

static socklen_t name_of(const struct ha_address *address, const char *path, union name *name) {
  memset(name, 0, sizeof *name);
  switch (address->kind) {
  case HA_ADDRESS_IPV4:
    name->ipv4.sin_family = AF_INET;
    name->ipv4.sin_port = htons(address->port);
    memcpy(&name->ipv4.sin_addr, address->ip, sizeof name->ipv4.sin_addr);
    return sizeof name->ipv4;
  case HA_ADDRESS_IPV6:
    name->ipv6.sin6_family = AF_INET6;
    name->ipv6.sin6_port = htons(address->port);
    memcpy(&name->ipv6.sin6_addr, address->ip, sizeof name->ipv6.sin6_addr);
    return sizeof name->ipv6;
  default:
    name->local.sun_family = AF_UNIX;
    ha_format(name->local.sun_path, sizeof name->local.sun_path, "%s", path);
    return sizeof name->local;
  }
}

static int bind_to(int fd, const struct ha_address *address, const char *path) {
  union name name;
  socklen_t size = name_of(address, path, &name);
  return result_of(syscall(SYS_bind, fd, &name.any, size));
}

static int start_listening(int fd) {
  return result_of(syscall(SYS_listen, fd, BACKLOG));
}

/* The port that the kernel chose. */
static int read_port(int fd, struct ha_address *address) {
  union name name;
  socklen_t size = sizeof name;
  int error = result_of(syscall(SYS_getsockname, fd, &name.any, &size));
  if (error == 0) {
    address->port = ntohs(address->kind == HA_ADDRESS_IPV4 ? name.ipv4.sin_port : name.ipv6.sin6_port);
  }
  return error;
}

static int listen_at_ip(int fd, struct ha_address *address) {
  const int on = 1;
  syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address->kind == HA_ADDRESS_IPV6) {
    syscall(SYS_setsockopt, fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  int error = bind_to(fd, address, "");
  if (error == 0) {
    error = start_listening(fd);
  }
  return error == 0 ? read_port(fd, address) : error;
}

/* Whether somebody listens at a Unix socket; only a refusal says that nobody does. */
static bool is_refused(const struct ha_address *address) {
  union name name;
  socklen_t size = name_of(address, address->path, &name);
  int fd = result_of(syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd < 0) {
    return false;
  }
  int error = result_of(syscall(SYS_connect, fd, &name.any, size));
  close_fd(fd);
  return error == -ECONNREFUSED;
}

/* Removes a socket of this user that nobody listens at. */
static bool remove_stale(const struct ha_address *address) {
  struct stat before, now;
  return read_path(address->path, &before) && S_ISSOCK(before.st_mode) && before.st_uid == geteuid() &&
         is_refused(address) && read_path(address->path, &now) && now.st_ino == before.st_ino &&
         now.st_dev == before.st_dev && remove_path(address->path) == 0;
}

static int link_name(const char *from, const struct ha_address *address) {
  struct stat stat;
  int error = link_path(from, address->path);
  if (error == -EEXIST && remove_stale(address)) {
    error = link_path(from, address->path);
  }
  if (error == 0 && read_path(address->path, &stat)) {
    own_name.device = stat.st_dev;
    own_name.inode = stat.st_ino;
    own_name.process = getpid();
  }
  return error == -EEXIST ? -EADDRINUSE : error;
}

static int listen_at_path(int fd, const struct ha_address *address) {
  char first[sizeof((struct sockaddr_un *)NULL)->sun_path];
  ha_format(first, sizeof first, "%s.%d", address->path, (int)getpid());
  /* Before bind, which takes the permissions over; the umask, which is the whole process's, stays as it is. */
  int error = result_of(syscall(SYS_fchmod, fd, SOCKET_MODE));
  if (error == 0) {
    error = bind_to(fd, address, first);
  }
  if (error != 0) {
    return error;
  }
  error = start_listening(fd);
  if (error == 0) {
    error = link_name(first, address);
  }
  remove_path(first);
  return error;
}

int ha_socket_listen(struct ha_address *address, struct ha_socket *ret_socket) {
  static const int families[] = {
      [HA_ADDRESS_IPV4] = AF_INET, [HA_ADDRESS_IPV6] = AF_INET6, [HA_ADDRESS_UNIX] = AF_UNIX};
  ha_lock(HA_RANK_HTTP);
  int fd =
      result_of(syscall(SYS_socket, families[address->kind], SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int error = fd < 0                             ? fd
              : address->kind == HA_ADDRESS_UNIX ? listen_at_path(fd, address)
                                                 : listen_at_ip(fd, address);
  if (error == 0) {
    error = adopt_locked(fd, ret_socket);
  } else if (fd >= 0) {
    close_fd(fd);
  }
  ha_unlock(HA_RANK_HTTP);
  return error;
}

void ha_socket_unlink(const struct ha_address *address) {
  struct stat stat;
  if (address->kind == HA_ADDRESS_UNIX && own_name.process == getpid() && read_path(address->path, &stat) &&
      stat.st_ino == own_name.inode && stat.st_dev == own_name.device) {
    remove_path(address->path);
  }
}

int ha_socket_accept(const struct ha_socket *listener, struct ha_socket *ret_socket) {
  ha_lock(HA_RANK_HTTP);
  int fd = result_of(syscall(SYS_accept4, listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
  int error = fd < 0 ? fd : adopt_locked(fd, ret_socket);
  ha_unlock(HA_RANK_HTTP);
  return error;
}

long ha_socket_receive(const struct ha_socket *socket, void *out, size_t size) {
  long count = syscall(SYS_recvfrom, socket->fd, out, size, MSG_DONTWAIT, NULL, NULL);
  return count < 0 ? -errno : count;
}

long ha_socket_send(const struct ha_socket *socket, const void *data, size_t size) {
  long count = syscall(SYS_sendto, socket->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0);
  return count < 0 ? -errno : count;
}

void ha_socket_end(const struct ha_socket *socket) {
  syscall(SYS_shutdown, socket->fd, SHUT_WR);
}

void ha_socket_close(struct ha_socket *socket) {
  ha_lock(HA_RANK_HTTP);
  for (int i = 0; i < HA_SOCKETS_MAX; i++) {
    if (open_sockets[i].fd == socket->fd && open_sockets[i].inode == socket->inode) {
      open_sockets[i] = (struct ha_socket){0, 0};
    }
  }
  if (ha_socket_is_ours(socket)) {
    close_fd(socket->fd);
  }
  ha_unlock(HA_RANK_HTTP);
  socket->fd = -1;
}

int ha_socket_poll(struct pollfd *fds, unsigned count, uint64_t nanos) {
  struct timespec timeout = {(time_t)(nanos / HA_SECOND), (long)(nanos % HA_SECOND)};
  return result_of(syscall(SYS_ppoll, fds, count, &timeout, NULL, 0));
}

void ha_socket_after_fork_in_child(void) {
  for (int i = 0; i < HA_SOCKETS_MAX; i++) {
    if (open_sockets[i].fd != 0 && ha_socket_is_ours(&open_sockets[i])) {
      close_fd(open_sockets[i].fd);
    }
    open_sockets[i] = (struct ha_socket){0, 0};
  }
}
