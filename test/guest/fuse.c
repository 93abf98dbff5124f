/* File systems in user space: a tiny server, without a library, that a forked
 * process runs, and what others see of it. */
#include "guest.h"
#include <dirent.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/xattr.h>

/* What the server keeps: node i has number i, the root is 1. */
#define NODES 64
#define DATA 70000
static struct node {
	int used, parent, links;
	unsigned mode, uid, gid;
	char name[256];
	char data[DATA];
	size_t size;
	unsigned long long lookups;
} *nodes; /* shared with the tests */

/* Counts and switches, shared with the tests too. */
static struct shared {
	volatile int opened, released, flushed, forgotten, interrupted, hung, destroyed;
	volatile unsigned uid, pid;
	volatile int nonsense;	 /* how to answer GETATTR: see answer_nonsense */
	volatile int entry_secs; /* how long names and attributes hold */
	volatile int lookups, getattrs;
	volatile int open_flags;
	volatile int lack; /* an operation to say ENOSYS to */
} *sh;

static int dev = -1;
static unsigned long mount_flags = MS_NOSUID | MS_NODEV;
static unsigned long long hung_unique;

static void reply(unsigned long long unique, int error, const void *data, size_t n) {
	struct fuse_out_header h = { sizeof h + n, -error, unique };
	struct iovec v[2] = { { &h, sizeof h }, { (void *)data, n } };
	if (error)
		h.len = sizeof h;
	writev(dev, v, error || !n ? 1 : 2);
}

static void fill(struct fuse_attr *a, int i) {
	struct node *n = &nodes[i];
	memset(a, 0, sizeof *a);
	a->ino = i;
	a->mode = n->mode;
	a->nlink = n->links;
	a->uid = n->uid;
	a->gid = n->gid;
	a->size = n->size;
	a->blocks = (n->size + 511) / 512;
	a->mtime = 1000000000;
	a->mtimensec = 5;
	a->blksize = 4096;
	if (S_ISCHR(n->mode))
		a->rdev = 1 << 8 | 3; /* the null device */
}

static void fill_entry(struct fuse_entry_out *e, int i) {
	memset(e, 0, sizeof *e);
	e->nodeid = i;
	e->entry_valid = e->attr_valid = sh->entry_secs;
	fill(&e->attr, i);
	nodes[i].lookups++;
}

static void reply_entry(unsigned long long unique, int i) {
	struct fuse_entry_out e;
	fill_entry(&e, i);
	reply(unique, 0, &e, sizeof e);
}

static int find(int dir, const char *name) {
	for (int i = 2; i < NODES; i++)
		if (nodes[i].used && nodes[i].parent == dir && !strcmp(nodes[i].name, name))
			return i;
	return 0;
}

static int add(int dir, const char *name, unsigned mode, struct fuse_in_header *h) {
	for (int i = 2; i < NODES; i++)
		if (!nodes[i].used && !nodes[i].lookups) {
			memset(&nodes[i], 0, sizeof nodes[i]);
			nodes[i].used = 1;
			nodes[i].parent = dir;
			nodes[i].links = S_ISDIR(mode) ? 2 : 1;
			nodes[i].mode = mode;
			nodes[i].uid = h ? h->uid : 0;
			nodes[i].gid = h ? h->gid : 0;
			strcpy(nodes[i].name, name);
			return i;
		}
	return 0;
}

static int add_text(const char *name, unsigned mode, const char *text) {
	int i = add(1, name, mode, NULL);
	nodes[i].size = strlen(text);
	memcpy(nodes[i].data, text, nodes[i].size);
	return i;
}

static void put_dirent(char *buf, size_t *n, int i, const char *name, int off) {
	struct fuse_dirent *d = (struct fuse_dirent *)(buf + *n);
	d->ino = i;
	d->off = off;
	d->namelen = strlen(name);
	d->type = nodes[i].mode >> 12;
	memcpy(d->name, name, d->namelen);
	*n += FUSE_DIRENT_SIZE(d);
}

static void readdir_reply(unsigned long long unique, int dir, unsigned long long off, size_t size) {
	char buf[4096] = { 0 };
	size_t n = 0;
	if (off == 0)
		put_dirent(buf, &n, dir, ".", 1), off = 1;
	if (off == 1)
		put_dirent(buf, &n, nodes[dir].parent, "..", 2), off = 2;
	for (int i = off; i < NODES; i++)
		if (nodes[i].used && nodes[i].parent == dir) {
			if (n + 24 + 256 + 8 > size || n + 24 + 256 + 8 > sizeof buf)
				break;
			put_dirent(buf, &n, i, nodes[i].name, i + 1);
		}
	reply(unique, 0, buf, n);
}

/* answer_nonsense gives answers that no server should. */
static void answer_nonsense(unsigned long long unique) {
	struct fuse_attr_out o;
	memset(&o, 0, sizeof o);
	fill(&o.attr, 1);
	switch (sh->nonsense) {
	case 1: /* too short */
		reply(unique, 0, &o, 20);
		break;
	case 2: /* another type */
		o.attr.mode = S_IFREG | 0644;
		reply(unique, 0, &o, sizeof o);
		break;
	case 3: /* no size */
		o.attr.size = -1;
		reply(unique, 0, &o, sizeof o);
		break;
	}
	/* Whatever the kernel made of that, it must have an answer. */
	reply(unique, EIO, NULL, 0);
}

static void serve_one(char *buf) {
	struct fuse_in_header *h = (void *)buf;
	char *in = buf + sizeof *h;
	int i = h->nodeid < NODES ? h->nodeid : 0;
	struct node *n = &nodes[i];
	unsigned long long u = h->unique;
	if (sh->lack && h->opcode == (unsigned)sh->lack) {
		reply(u, ENOSYS, NULL, 0);
		return;
	}
	switch (h->opcode) {
	case FUSE_INIT: {
		struct fuse_init_out o;
		memset(&o, 0, sizeof o);
		o.major = FUSE_KERNEL_VERSION;
		o.minor = 31;
		o.max_write = 65536;
		reply(u, 0, &o, sizeof o);
		break;
	}
	case FUSE_LOOKUP: {
		sh->lookups++;
		sh->uid = h->uid;
		sh->pid = h->pid;
		int c = find(i, in);
		if (!strcmp(in, "hang")) {
			hung_unique = u;
			sh->hung++;
			break;
		}
		if (!strcmp(in, "die"))
			_exit(0);
		if (c)
			reply_entry(u, c);
		else
			reply(u, ENOENT, NULL, 0);
		break;
	}
	case FUSE_FORGET:
		sh->forgotten++;
		n->lookups -= ((struct fuse_forget_in *)in)->nlookup;
		break;
	case FUSE_BATCH_FORGET: {
		struct fuse_batch_forget_in *b = (void *)in;
		struct fuse_forget_one *f = (void *)(b + 1);
		for (unsigned k = 0; k < b->count; k++, sh->forgotten++)
			if (f[k].nodeid < NODES)
				nodes[f[k].nodeid].lookups -= f[k].nlookup;
		break;
	}
	case FUSE_GETATTR: {
		struct fuse_attr_out o;
		sh->getattrs++;
		if (sh->nonsense) {
			answer_nonsense(u);
			break;
		}
		memset(&o, 0, sizeof o);
		o.attr_valid = sh->entry_secs;
		fill(&o.attr, i);
		reply(u, 0, &o, sizeof o);
		break;
	}
	case FUSE_SETATTR: {
		struct fuse_setattr_in *s = (void *)in;
		struct fuse_attr_out o;
		if (s->valid & FATTR_MODE)
			n->mode = (n->mode & S_IFMT) | (s->mode & 07777);
		if (s->valid & FATTR_UID)
			n->uid = s->uid;
		if (s->valid & FATTR_GID)
			n->gid = s->gid;
		if (s->valid & FATTR_SIZE && s->size < DATA) {
			if (s->size > n->size)
				memset(n->data + n->size, 0, s->size - n->size);
			n->size = s->size;
		}
		memset(&o, 0, sizeof o);
		fill(&o.attr, i);
		reply(u, 0, &o, sizeof o);
		break;
	}
	case FUSE_READLINK:
		reply(u, 0, n->data, n->size);
		break;
	case FUSE_MKNOD: {
		struct fuse_mknod_in *m = (void *)in;
		reply_entry(u, add(i, (char *)(m + 1), m->mode, h));
		break;
	}
	case FUSE_MKDIR: {
		struct fuse_mkdir_in *m = (void *)in;
		reply_entry(u, add(i, (char *)(m + 1), S_IFDIR | m->mode, h));
		break;
	}
	case FUSE_SYMLINK: {
		char *target = in + strlen(in) + 1;
		int c = add(i, in, S_IFLNK | 0777, h);
		nodes[c].size = strlen(target);
		strcpy(nodes[c].data, target);
		reply_entry(u, c);
		break;
	}
	case FUSE_CREATE: {
		struct fuse_create_in *c = (void *)in;
		struct {
			struct fuse_entry_out e;
			struct fuse_open_out o;
		} out;
		memset(&out, 0, sizeof out);
		fill_entry(&out.e, add(i, (char *)(c + 1), c->mode, h));
		out.o.fh = 77;
		sh->opened++;
		reply(u, 0, &out, sizeof out);
		break;
	}
	case FUSE_UNLINK:
	case FUSE_RMDIR: {
		int c = find(i, in);
		for (int k = 2; c && h->opcode == FUSE_RMDIR && k < NODES; k++)
			if (nodes[k].used && nodes[k].parent == c) {
				reply(u, ENOTEMPTY, NULL, 0);
				return;
			}
		if (c)
			nodes[c].used = nodes[c].links = 0;
		reply(u, c ? 0 : ENOENT, NULL, 0);
		break;
	}
	case FUSE_RENAME:
	case FUSE_RENAME2: {
		int to = *(uint64_t *)in;
		char *old = in + (h->opcode == FUSE_RENAME ? sizeof(struct fuse_rename_in) : sizeof(struct fuse_rename2_in));
		char *new = old + strlen(old) + 1;
		int c = find(i, old), there = find(to, new);
		if (there)
			nodes[there].used = nodes[there].links = 0;
		nodes[c].parent = to;
		strcpy(nodes[c].name, new);
		reply(u, 0, NULL, 0);
		break;
	}
	case FUSE_OPEN:
	case FUSE_OPENDIR: {
		struct fuse_open_out o = { 70 + i, sh->open_flags, 0 };
		sh->opened++;
		reply(u, 0, &o, sizeof o);
		break;
	}
	case FUSE_READ: {
		struct fuse_read_in *r = (void *)in;
		size_t k = r->offset >= n->size ? 0 : n->size - r->offset;
		reply(u, 0, n->data + r->offset, k < r->size ? k : r->size);
		break;
	}
	case FUSE_WRITE: {
		struct fuse_write_in *w = (void *)in;
		struct fuse_write_out o = { w->size, 0 };
		if (w->offset + w->size > DATA) {
			reply(u, ENOSPC, NULL, 0);
			break;
		}
		if (w->offset > n->size)
			memset(n->data + n->size, 0, w->offset - n->size);
		memcpy(n->data + w->offset, w + 1, w->size);
		if (w->offset + w->size > n->size)
			n->size = w->offset + w->size;
		reply(u, 0, &o, sizeof o);
		break;
	}
	case FUSE_STATFS: {
		struct fuse_statfs_out o;
		memset(&o, 0, sizeof o);
		o.st.blocks = 1000;
		o.st.bfree = 500;
		o.st.bsize = o.st.frsize = 4096;
		o.st.namelen = 200;
		reply(u, 0, &o, sizeof o);
		break;
	}
	case FUSE_READDIR: {
		struct fuse_read_in *r = (void *)in;
		readdir_reply(u, i, r->offset, r->size);
		break;
	}
	case FUSE_GETXATTR: {
		struct fuse_getxattr_in *g = (void *)in;
		if (strcmp((char *)(g + 1), "user.color")) {
			reply(u, ENODATA, NULL, 0);
		} else if (!g->size) {
			struct fuse_getxattr_out o = { 4, 0 };
			reply(u, 0, &o, sizeof o);
		} else {
			reply(u, g->size < 4 ? ERANGE : 0, "blue", 4);
		}
		break;
	}
	case FUSE_LISTXATTR: {
		struct fuse_getxattr_in *g = (void *)in;
		struct fuse_getxattr_out o = { 11, 0 };
		if (!g->size)
			reply(u, 0, &o, sizeof o);
		else
			reply(u, g->size < 11 ? ERANGE : 0, "user.color", 11);
		break;
	}
	case FUSE_FLUSH:
		sh->flushed++;
		reply(u, 0, NULL, 0);
		break;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		sh->released++;
		/* fall through */
	case FUSE_FSYNC:
	case FUSE_SETXATTR:
		reply(u, 0, NULL, 0);
		break;
	case FUSE_INTERRUPT:
		sh->interrupted++;
		if (((struct fuse_interrupt_in *)in)->unique == hung_unique)
			reply(hung_unique, EINTR, NULL, 0);
		break;
	case FUSE_DESTROY:
		sh->destroyed++;
		reply(u, 0, NULL, 0);
		break;
	default:
		reply(u, ENOSYS, NULL, 0);
	}
}

static void serve(void) {
	static char buf[1 << 20];
	for (;;) {
		ssize_t n = read(dev, buf, sizeof buf);
		if (n < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (n < (ssize_t)sizeof(struct fuse_in_header))
			_exit(errno == ENODEV ? 0 : 1);
		serve_one(buf);
	}
}

/* put writes a text into a file of /proc. */
static int put(const char *path, const char *text) {
	int fd = open(path, O_WRONLY), n = fd < 0 ? -1 : write(fd, text, strlen(text));
	close(fd);
	return n;
}

/* start mounts a file system with extra options at "m", has a child serve it
 * and returns the child's number. The parent closes the device. */
static pid_t start_as(unsigned id, const char *extra);
static pid_t start(const char *extra) {
	struct utsname un;
	if (geteuid() != 0)
		SKIP("mounting needs root");
	if (unshare(CLONE_NEWNS) == 0) {
		if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
			SKIP("this host does not let mounts be made private");
	} else if (uname(&un) || !strstr(un.release, "coffer")) {
		SKIP("this host gives no mount namespace, and its mounts must not be changed");
	}
	return start_as(0, extra);
}

/* start_as is start where this process's user and group have that name. */
static pid_t start_as(unsigned id, const char *extra) {
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		SKIP("this host has no /dev/fuse");
	nodes = mmap(NULL, NODES * sizeof *nodes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	sh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(nodes != MAP_FAILED && sh != MAP_FAILED);
	nodes[1] = (struct node){ .used = 1, .parent = 1, .links = 2, .mode = S_IFDIR | 0755 };
	add_text("hello", S_IFREG | 0644, "hello, world\n");
	add(1, "dir", S_IFDIR | 0755, NULL);
	add_text("link", S_IFLNK | 0777, "hello");
	char opts[200];
	snprintf(opts, sizeof opts, "fd=%d,rootmode=40755,user_id=%u,group_id=%u%s", dev, id, id, extra);
	OK(mkdir("m", 0755));
	if (mount("tiny", "m", "fuse.tiny", mount_flags, opts)) {
		if (errno == ENODEV || errno == EPERM)
			SKIP("this host does not mount FUSE");
		guest_fail(__FILE__, __LINE__, "mount: %s", strerror(errno));
	}
	pid_t k = (pid_t)OK(fork());
	if (k == 0) {
		serve();
		_exit(0);
	}
	close(dev);
	return k;
}

static void stop(pid_t server) {
	int s;
	OK(umount2("m", 0));
	EQUAL(waitpid(server, &s, 0), server);
	EQUAL(s, 0);
}

static void read_all(const char *path, const char *want) {
	char buf[100] = { 0 };
	int fd = OK(open(path, O_RDONLY));
	EQUAL(read(fd, buf, sizeof buf), strlen(want));
	CHECK(!strcmp(buf, want));
	EQUAL(read(fd, buf, sizeof buf), 0);
	OK(close(fd));
}

TEST(reads_and_lists) {
	pid_t k = start("");
	struct stat st;
	read_all("m/hello", "hello, world\n");
	read_all("m/link", "hello, world\n");
	OK(stat("m/hello", &st));
	EQUAL(st.st_size, 13);
	EQUAL(st.st_mode, S_IFREG | 0644);
	EQUAL(st.st_ino, 2);
	EQUAL(st.st_mtime, 1000000000);
	EQUAL(st.st_mtim.tv_nsec, 5);
	FAILS(stat("m/none", &st), ENOENT);
	FAILS(stat("m/hello/x", &st), ENOTDIR);
	char buf[10] = { 0 };
	EQUAL(readlink("m/link", buf, sizeof buf), 5);
	DIR *d = opendir("m");
	CHECK(d);
	int seen = 0;
	for (struct dirent *e; (e = readdir(d)); seen++)
		CHECK(!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !strcmp(e->d_name, "hello") ||
		      (!strcmp(e->d_name, "dir") && e->d_type == DT_DIR) || !strcmp(e->d_name, "link"));
	EQUAL(seen, 5);
	closedir(d);
	int fd = OK(open("m/hello", O_RDONLY));
	EQUAL(pread(fd, buf, 5, 7), 5);
	CHECK(!memcmp(buf, "world", 5));
	EQUAL(lseek(fd, -1, SEEK_END), 12);
	EQUAL(lseek(fd, 0, SEEK_DATA), 0);
	EQUAL(lseek(fd, 0, SEEK_HOLE), 13);
	FAILS(lseek(fd, 13, SEEK_DATA), ENXIO);
	FAILS(write(fd, "x", 1), EBADF);
	close(fd);
	stop(k);
}

TEST(makes_and_changes) {
	pid_t k = start("");
	struct stat st;
	umask(027);
	int fd = OK(open("m/new", O_RDWR | O_CREAT | O_EXCL, 0666));
	EQUAL(write(fd, "abcdef", 6), 6);
	OK(fstat(fd, &st));
	EQUAL(st.st_mode, S_IFREG | 0640);
	EQUAL(st.st_size, 6);
	OK(ftruncate(fd, 3));
	OK(fsync(fd));
	OK(close(fd));
	FAILS(open("m/new", O_RDWR | O_CREAT | O_EXCL, 0666), EEXIST);
	read_all("m/new", "abc");
	fd = OK(open("m/new", O_WRONLY | O_APPEND));
	EQUAL(write(fd, "def", 3), 3);
	close(fd);
	read_all("m/new", "abcdef");
	fd = OK(open("m/new", O_WRONLY | O_TRUNC));
	close(fd);
	OK(stat("m/new", &st));
	EQUAL(st.st_size, 0);
	OK(chmod("m/new", 0600));
	OK(chown("m/new", 5, 6));
	OK(stat("m/new", &st));
	EQUAL(st.st_mode & 07777, 0600);
	EQUAL(st.st_uid, 5);
	EQUAL(st.st_gid, 6);
	OK(mkdir("m/d", 0777));
	OK(rename("m/new", "m/d/moved"));
	FAILS(stat("m/new", &st), ENOENT);
	OK(stat("m/d/moved", &st));
	FAILS(rmdir("m/d"), ENOTEMPTY);
	OK(unlink("m/d/moved"));
	OK(rmdir("m/d"));
	OK(symlink("else/where", "m/s"));
	OK(lstat("m/s", &st));
	EQUAL(st.st_mode & S_IFMT, S_IFLNK);
	OK(mkfifo("m/p", 0600));
	fd = OK(open("m/p", O_RDWR | O_NONBLOCK));
	EQUAL(write(fd, "x", 1), 1);
	close(fd);
	FAILS(link("m/hello", "m/h2"), EPERM); /* the server lacks it */
	stop(k);
}

TEST(large_transfers) {
	pid_t k = start("");
	static char out[DATA], in[DATA + 1];
	for (int i = 0; i < DATA; i++)
		out[i] = i * 7;
	int fd = OK(open("m/big", O_RDWR | O_CREAT, 0600));
	EQUAL(write(fd, out, 66000), 66000);
	EQUAL(pread(fd, in, sizeof in, 0), 66000);
	CHECK(!memcmp(in, out, 66000));
	FAILS(pwrite(fd, out, 100, DATA), ENOSPC);
	OK(close(fd));
	stop(k);
}

TEST(maps_a_copy) {
	pid_t k = start("");
	int fd = OK(open("m/hello", O_RDWR));
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	CHECK(!memcmp(p, "hello, world\n", 14));
	p[0] = 'j';
	char c;
	EQUAL(pread(fd, &c, 1, 0), 1);
	EQUAL(c, 'h');
	munmap(p, 4096);
	int ro = OK(open("m/hello", O_RDONLY));
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, ro, 0);
	CHECK(p != MAP_FAILED);
	EQUAL(p[7], 'w');
	munmap(p, 4096);
	close(fd);
	close(ro);
	stop(k);
}

TEST(executes) {
	pid_t k = start("");
	static char script[] = "#!/bin/sh\nexit 7\n";
	int fd = OK(open("m/run", O_WRONLY | O_CREAT, 0755));
	EQUAL(write(fd, script, sizeof script - 1), sizeof script - 1);
	OK(close(fd));
	EQUAL(IN_CHILD(execl("m/run", "run", NULL); _exit(1)), 7 << 8);
	FAILS(execl("m/hello", "hello", NULL), EACCES);
	stop(k);
}

TEST(tells_the_server_who_asks) {
	pid_t k = start(",allow_other");
	struct stat st;
	EXITED_OK(IN_CHILD(OK(setresuid(123, 123, 123)); OK(stat("m/hello", &st)); EQUAL(sh->uid, 123);
			   EQUAL(sh->pid, getpid())));
	stop(k);
}

TEST(keeps_others_out) {
	pid_t k = start("");
	struct stat st;
	EXITED_OK(IN_CHILD(OK(setresuid(123, 123, 123)); FAILS(stat("m/hello", &st), EACCES);
			   FAILS(open("m", O_RDONLY), EACCES); FAILS(stat("m", &st), EACCES)));
	/* Not even those with all capabilities come in. */
	EXITED_OK(IN_CHILD(OK(setresgid(123, 123, 123)); FAILS(stat("m/hello", &st), EACCES); FAILS(chmod("m", 0700), EACCES);
			   FAILS(listxattr("m", NULL, 0), EACCES)));
	stop(k);
}

TEST(default_permissions) {
	pid_t k = start(",allow_other,default_permissions");
	nodes[2].mode = S_IFREG | 0600;
	EXITED_OK(IN_CHILD(OK(setresuid(123, 123, 123)); FAILS(open("m/hello", O_RDONLY), EACCES);
			   FAILS(access("m/hello", R_OK), EACCES); FAILS(mkdir("m/x", 0700), EACCES)));
	nodes[2].mode = S_IFREG | 0644;
	EXITED_OK(IN_CHILD(OK(setresuid(123, 123, 123)); OK(open("m/hello", O_RDONLY));
			   FAILS(open("m/hello", O_WRONLY), EACCES)));
	stop(k);
}

TEST(device_nodes) {
	char c;
	mount_flags = 0;
	pid_t k = start("");
	add(1, "null", S_IFCHR | 0666, NULL);
	int fd = OK(open("m/null", O_RDONLY));
	EQUAL(read(fd, &c, 1), 0);
	close(fd);
	OK(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_NODEV, NULL));
	FAILS(open("m/null", O_RDONLY), EACCES);
	stop(k);
}

TEST(in_a_user_namespace) {
	struct stat st;
	mount_flags = 0;
	if (geteuid() != 0)
		SKIP("the device is root's");
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		SKIP("this host gives no user namespace");
	if (put("/proc/self/setgroups", "deny") < 0 || put("/proc/self/uid_map", "7 0 1") < 0 || put("/proc/self/gid_map", "7 0 1") < 0)
		SKIP("this host does not let the namespace have root's number");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		SKIP("this host does not let mounts be made private");
	pid_t k = start_as(7, "");
	OK(stat("m/hello", &st));
	EQUAL(sh->uid, 7);
	EQUAL(st.st_uid, 65534); /* the server's 0 is nobody here */
	nodes[2].uid = nodes[2].gid = 7;
	nodes[add(1, "null", S_IFCHR | 0666, NULL)].uid = 7;
	FAILS(open("m/null", O_RDONLY), EACCES); /* a server must not make devices */
	OK(stat("m/hello", &st));
	EQUAL(st.st_uid, 7);
	OK(chown("m/hello", 7, 7));
	FAILS(chown("m/hello", 8, 8), EINVAL);
	FAILS(open("m/new", O_WRONLY | O_CREAT, 0600), EACCES); /* the directory is nobody's */
	nodes[1].uid = nodes[1].gid = 7;
	OK(stat("m", &st));
	OK(close(OK(open("m/new", O_WRONLY | O_CREAT, 0600))));
	OK(stat("m/new", &st));
	EQUAL(st.st_uid, 7);
	stop(k);
}

TEST(names_and_attributes_hold_as_long_as_the_server_says) {
	pid_t k = start("");
	struct stat st;
	sh->entry_secs = 1000;
	OK(stat("m/hello", &st));
	int lookups = sh->lookups;
	nodes[2].size = 5; /* behind the kernel's back */
	OK(stat("m/hello", &st));
	EQUAL(sh->lookups, lookups);
	EQUAL(st.st_size, 13);
	sh->entry_secs = 0;
	OK(stat("m/dir", &st));
	lookups = sh->lookups;
	OK(stat("m/dir", &st));
	EQUAL(sh->lookups, lookups + 1);
	stop(k);
}

TEST(opens_are_released) {
	pid_t k = start("");
	int fd = OK(open("m/hello", O_RDONLY));
	int two = OK(dup(fd));
	OK(close(fd));
	EQUAL(sh->flushed, 1);
	OK(close(two));
	EQUAL(sh->flushed, 2);
	while (sh->released < sh->opened)
		sleep_ms(1);
	EQUAL(sh->opened, 1);
	stop(k);
}

TEST(forgets_what_is_gone) {
	pid_t k = start("");
	struct stat st;
	OK(close(OK(open("m/x", O_WRONLY | O_CREAT, 0600))));
	OK(unlink("m/x"));
	while (!sh->forgotten)
		sleep_ms(1);
	FAILS(stat("m/x", &st), ENOENT);
	EQUAL(nodes[5].lookups, 0);
	stop(k);
}

TEST(extended_attributes) {
	pid_t k = start("");
	char buf[20];
	EQUAL(getxattr("m/hello", "user.color", buf, sizeof buf), 4);
	CHECK(!memcmp(buf, "blue", 4));
	EQUAL(getxattr("m/hello", "user.color", NULL, 0), 4);
	FAILS(getxattr("m/hello", "user.color", buf, 2), ERANGE);
	FAILS(getxattr("m/hello", "user.taste", buf, sizeof buf), ENODATA);
	EQUAL(listxattr("m/hello", buf, sizeof buf), 11);
	OK(setxattr("m/hello", "user.color", "red", 3, 0));
	FAILS(removexattr("m/hello", "user.color"), EOPNOTSUPP);
	stop(k);
}

TEST(statfs_asks_the_server) {
	pid_t k = start("");
	struct statfs s;
	OK(statfs("m", &s));
	EQUAL(s.f_type, 0x65735546);
	EQUAL(s.f_blocks, 1000);
	EQUAL(s.f_bfree, 500);
	EQUAL(s.f_namelen, 200);
	char line[300];
	int found = 0;
	FILE *f = fopen("/proc/self/mounts", "r");
	CHECK(f);
	while (fgets(line, sizeof line, f))
		found += strstr(line, "tiny ") == line && strstr(line, " fuse.tiny ") && strstr(line, "user_id=0,group_id=0");
	fclose(f);
	EQUAL(found, 1);
	stop(k);
}

TEST(what_the_server_lacks) {
	pid_t k = start("");
	struct stat st;
	sh->lack = FUSE_CREATE; /* made and opened in two steps */
	int fd = OK(open("m/two", O_RDWR | O_CREAT, 0600));
	EQUAL(write(fd, "2", 1), 1);
	close(fd);
	sh->lack = FUSE_FSYNC;
	fd = OK(open("m/two", O_RDWR));
	OK(fsync(fd));
	close(fd);
	sh->lack = FUSE_STATFS;
	struct statfs s;
	FAILS(statfs("m", &s), ENOSYS);
	sh->lack = 0;
	OK(stat("m/two", &st));
	FAILS(ioctl(OK(open("m/two", O_RDWR)), 0x1234, 0), ENOTTY);
	EXITED_OK(IN_CHILD()); /* the descriptor goes with the test */
	kill(k, SIGKILL);
	OK(umount2("m", MNT_DETACH));
}

TEST(nonseekable_files) {
	pid_t k = start("");
	char c;
	sh->open_flags = FOPEN_NONSEEKABLE | FOPEN_DIRECT_IO;
	int fd = OK(open("m/hello", O_RDWR));
	FAILS(lseek(fd, 0, SEEK_SET), ESPIPE);
	FAILS(pread(fd, &c, 1, 0), ESPIPE);
	EQUAL(read(fd, &c, 1), 1);
	EQUAL(c, 'h');
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	EQUAL(errno, ENODEV);
	close(fd);
	stop(k);
}

TEST(nonsense_is_an_io_error) {
	pid_t k = start("");
	struct stat st;
	for (int i = 1; i <= 3; i++) {
		sh->nonsense = i;
		FAILS(stat("m", &st), EIO);
	}
	sh->nonsense = 0;
	/* A node that changes its type may become unusable, here the root. */
	kill(k, SIGKILL);
	OK(umount2("m", MNT_DETACH));
}

TEST(a_server_that_dies) {
	pid_t k = start("");
	struct stat st;
	int fd = OK(open("m/hello", O_RDONLY));
	FAILS(stat("m/die", &st), ECONNABORTED);
	EQUAL(waitpid(k, NULL, 0), k);
	char c;
	FAILS(stat("m/dir", &st), ENOTCONN);
	FAILS(pread(fd, &c, 1, 0), ENOTCONN);
	FAILS(open("m/new", O_WRONLY | O_CREAT, 0600), ENOTCONN);
	close(fd);
	OK(umount2("m", 0));
}

static void on_signal(int sig) {}

TEST(a_signal_interrupts) {
	pid_t k = start("");
	struct stat st;
	struct sigaction sa = { .sa_handler = on_signal };
	sigaction(SIGUSR1, &sa, NULL);
	pid_t helper = signal_when_asleep(SIGUSR1);
	FAILS(stat("m/hang", &st), EINTR);
	EQUAL(sh->interrupted, 1);
	EQUAL(waitpid(helper, NULL, 0), helper);
	read_all("m/hello", "hello, world\n");
	stop(k);
}

TEST(a_stopped_server_and_a_killed_client) {
	pid_t k = start("");
	struct stat st;
	int s;
	OK(stat("m/hello", &st)); /* so that it has begun */
	kill(k, SIGSTOP);
	EQUAL(waitpid(k, &s, WUNTRACED), k);
	pid_t c = (pid_t)OK(fork());
	if (c == 0) {
		stat("m/dir", &st);
		_exit(0);
	}
	await_sleep(c);
	kill(c, SIGKILL);
	EQUAL(waitpid(c, &s, 0), c);
	CHECK(WIFSIGNALED(s));
	kill(k, SIGCONT);
	OK(stat("m/dir", &st));
	stop(k);
}

TEST(force_gives_up_the_server) {
	pid_t k = start("");
	struct stat st;
	int s;
	pid_t c = (pid_t)OK(fork());
	if (c == 0) {
		FAILS(stat("m/hang", &st), ECONNABORTED);
		_exit(0);
	}
	while (!sh->hung)
		sleep_ms(1);
	await_sleep(c);
	OK(umount2("m", MNT_FORCE | MNT_DETACH));
	EQUAL(waitpid(c, &s, 0), c);
	EQUAL(s, 0);
	EQUAL(waitpid(k, &s, 0), k);
	EQUAL(s, 0); /* its read said ENODEV */
}

TEST(device_without_a_mount) {
	char buf[8192];
	int fd = open("/dev/fuse", O_RDWR | O_NONBLOCK);
	if (fd < 0)
		SKIP("this host has no /dev/fuse, or not for everybody");
	FAILS(read(fd, buf, sizeof buf), EPERM);
	FAILS(write(fd, buf, 16), EPERM);
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	EQUAL(poll(&p, 1, 0), 1);
	EQUAL(p.revents, POLLERR);
	close(fd);
}

TEST(bad_mounts) {
	pid_t k = start("");
	char opts[100];
	OK(mkdir("n", 0755));
	dev = OK(open("/dev/fuse", O_RDWR));
	int other = OK(open("/dev/null", O_RDWR));
	static const char *const bad[] = { "", "fd=%d", "fd=%d,rootmode=40755,user_id=0", "fd=%d,rootmode=0,user_id=0,group_id=0",
					   "fd=%d,rootmode=40755,user_id=x,group_id=0", "fd=%d,rootmode=40755,user_id=0,group_id=0,nothing" };
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(opts, sizeof opts, bad[i], dev);
		FAILS(mount("x", "n", "fuse", 0, opts), EINVAL);
	}
	snprintf(opts, sizeof opts, "fd=%d,rootmode=40755,user_id=0,group_id=0", other);
	FAILS(mount("x", "n", "fuse", 0, opts), EINVAL);
	FAILS(mount("x", "n", "fuse", 0, "fd=999,rootmode=40755,user_id=0,group_id=0"), EINVAL);
	close(dev);
	stop(k);
}

TEST(device_protocol) {
	pid_t k = start("");
	struct stat st;
	/* A second connection, served by hand. */
	OK(mkdir("n", 0755));
	dev = OK(open("/dev/fuse", O_RDWR | O_NONBLOCK));
	char opts[100];
	static char buf[1 << 17];
	snprintf(opts, sizeof opts, "fd=%d,rootmode=40755,user_id=0,group_id=0", dev);
	OK(mount("x", "n", "fuse", 0, opts));
	struct pollfd p = { dev, POLLIN | POLLOUT, 0 };
	EQUAL(poll(&p, 1, -1), 1);
	EQUAL(p.revents, POLLIN | POLLOUT);
	FAILS(read(dev, buf, 100), EINVAL); /* too small a buffer */
	CHECK(read(dev, buf, sizeof buf) > 0);
	struct fuse_in_header *h = (void *)buf;
	EQUAL(h->opcode, FUSE_INIT);
	FAILS(read(dev, buf + 4096, sizeof buf - 4096), EAGAIN);
	struct fuse_out_header o = { 15, 0, h->unique };
	FAILS(write(dev, &o, 15), EINVAL);
	o.len = 17;
	FAILS(write(dev, &o, 16), EINVAL);
	o = (struct fuse_out_header){ 16, 5, h->unique };
	FAILS(write(dev, &o, 16), EINVAL); /* an error is negative */
	o = (struct fuse_out_header){ 16, 0, 99990 };
	FAILS(write(dev, &o, 16), ENOENT);
	serve_one(buf);
	pid_t c = (pid_t)OK(fork());
	if (c == 0) {
		close(dev);
		FAILS(stat("n/x", &st), ECONNABORTED);
		_exit(0);
	}
	p.events = POLLIN;
	do {
		EQUAL(poll(&p, 1, -1), 1);
		CHECK(read(dev, buf, sizeof buf) > 0);
	} while (h->opcode != FUSE_LOOKUP);
	close(dev); /* and with it the server */
	int s;
	EQUAL(waitpid(c, &s, 0), c);
	EQUAL(s, 0);
	OK(umount2("n", 0));
	stop(k);
}
