// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes, asks for, reads, revokes, invalidates and drops derived keys, many at
 * once in the same keyrings, and looks at each key that it gets:
 *
 *	stress run OPERATIONS PROCESSES SEED	at random
 *	stress fail OPERATIONS PROCESSES SEED	the same, allocations failing
 *	stress nth				every allocation of a request fails once
 *
 * What an operation may fail with is known; a key that is not the right one is
 * never right. Writes how often what came, and fails if anything was wrong.
 * Needs root, and a TPM that works when it starts.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMES		6
#define MAX_KEY		1024
#define MAX_ERRNO	134
#define MAX_NTH		2000

typedef int serial_t;

static const char *const infos[NAMES] = {
	"32 id", "1024 path", "1 csum", "64 id gen=7", "32 cgroup", "33 path v=1",
};

struct key {
	long		size;
	unsigned char	bytes[MAX_KEY];
};

/* What all processes have counted. */
struct counts {
	unsigned long	done;
	unsigned long	keys;
	unsigned long	wrong;
	unsigned long	errors[MAX_ERRNO];
};

static struct key right[NAMES];
static struct counts *counts;
static bool faults;
static unsigned long long state;

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static unsigned int below(unsigned int bound)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (state >> 33) % bound;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail(path);
	close(fd);
}

static const char *description(unsigned int name)
{
	static char text[32];

	snprintf(text, sizeof(text), "stress %u", name);
	return text;
}

static serial_t add(const char *type, unsigned int name, serial_t ring)
{
	return syscall(SYS_add_key, type, description(name), infos[name],
		       strlen(infos[name]), ring);
}

static serial_t request(const char *type, unsigned int name, serial_t ring)
{
	return syscall(SYS_request_key, type, description(name), infos[name],
		       ring);
}

static long keyctl(int operation, long a, long b, long c)
{
	return syscall(SYS_keyctl, operation, a, b, c, 0);
}

/* No memory, no room, no TPM at the moment, or somebody else's doing. */
static bool may_fail_with(int number)
{
	switch (number) {
	case EACCES:
	case EAGAIN:
	case EDQUOT:
	case EINTR:
	case EKEYEXPIRED:
	case EKEYREVOKED:
	case ENODEV:
	case ENOKEY:
		return true;
	case ENOMEM:
		return faults;
	}
	return false;
}

static bool is_right(serial_t key, unsigned int name)
{
	unsigned char bytes[MAX_KEY];
	long size = keyctl(KEYCTL_READ, key, (long)bytes, sizeof(bytes));

	/* Somebody else has revoked it, or it is one that could not be made. */
	if (size < 0)
		return may_fail_with(errno);
	return size == right[name].size &&
	       !memcmp(bytes, right[name].bytes, size);
}

static void count(long result)
{
	__atomic_add_fetch(&counts->done, 1, __ATOMIC_RELAXED);
	if (result < 0 && errno < MAX_ERRNO)
		__atomic_add_fetch(&counts->errors[errno], 1, __ATOMIC_RELAXED);
}

static void wrong(const char *what, int number)
{
	__atomic_add_fetch(&counts->wrong, 1, __ATOMIC_RELAXED);
	printf("wrong: %s: %s\n", what, strerror(number));
	fflush(stdout);
}

static long make(unsigned int name, serial_t ring)
{
	bool readable = below(4);
	const char *type = readable ? "derived" : "derived-logon";
	bool adds = below(2);
	serial_t key;

	key = adds ? add(type, name, ring) : request(type, name, ring);
	if (key < 0) {
		if (!may_fail_with(errno))
			wrong(adds ? "adding" : "requesting", errno);
		return key;
	}
	__atomic_add_fetch(&counts->keys, 1, __ATOMIC_RELAXED);
	if (readable && !is_right(key, name))
		wrong("a key", 0);
	return key;
}

static long malformed(serial_t ring)
{
	static const char *const bad[] = { "", "0 id", "1025 path", "32", "32 id x" };
	const char *info = bad[below(5)];
	long key;

	key = syscall(SYS_add_key, "derived", "stress", info, strlen(info), ring);
	if (key >= 0 || (errno != EINVAL && errno != EDQUOT && errno != EKEYREVOKED &&
			 !(errno == ENOMEM && faults)))
		wrong("a malformed request", key >= 0 ? 0 : errno);
	return key;
}

/* One operation, in a keyring that others use too. */
static void operate(serial_t ring)
{
	unsigned int name = below(NAMES);
	serial_t key;
	long result;

	switch (below(16)) {
	default:
		result = make(name, ring);
		break;
	case 0 ... 4:
		key = keyctl(KEYCTL_SEARCH, ring, (long)"derived",
			     (long)description(name));
		if (key < 0) {
			result = key;
			break;
		}
		switch (below(5)) {
		case 0:
			result = keyctl(KEYCTL_REVOKE, key, 0, 0);
			break;
		case 1:
			result = keyctl(KEYCTL_INVALIDATE, key, 0, 0);
			break;
		case 2:
			result = keyctl(KEYCTL_UNLINK, key, ring, 0);
			break;
		case 3:
			result = keyctl(KEYCTL_SET_TIMEOUT, key, 1, 0);
			break;
		default:
			if (!is_right(key, name))
				wrong("a key that was found", 0);
			result = 0;
		}
		break;
	case 5:
		result = malformed(ring);
		break;
	case 6:
		result = keyctl(KEYCTL_CLEAR, ring, 0, 0);
		break;
	}
	count(result);
}

static serial_t join_session(void)
{
	long ring = keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0);

	if (ring < 0)
		fail("joining a session keyring");
	return ring;
}

/* The keys as they are when nothing fails. */
static void learn(void)
{
	serial_t ring = join_session();
	unsigned int name;

	for (name = 0; name < NAMES; name++) {
		serial_t key = add("derived", name, ring);

		if (key < 0)
			fail(infos[name]);
		right[name].size = keyctl(KEYCTL_READ, key, (long)right[name].bytes,
					  MAX_KEY);
		if (right[name].size < 1)
			fail("reading a key");
	}
	if (keyctl(KEYCTL_CLEAR, ring, 0, 0))
		fail("clearing a keyring");
}

static int run(unsigned long operations, unsigned int processes, unsigned long seed)
{
	serial_t ring = join_session();
	unsigned int i;
	int status, bad = 0;

	for (i = 0; i < processes; i++) {
		pid_t child = fork();
		unsigned long n;

		if (child < 0)
			fail("fork");
		if (child)
			continue;
		state = seed * 1000 + i;
		/* One has a keyring of its own. */
		if (i == 0)
			ring = join_session();
		if (faults)
			write_file("/proc/self/make-it-fail", "1");
		for (n = i; n < operations; n += processes)
			operate(ring);
		/* exit() allocates nothing that could fail now. */
		_exit(0);
	}
	for (i = 0; i < processes; i++)
		if (wait(&status) < 0 || status)
			bad = 1;
	return bad;
}

/* Lets the Nth allocation from now on fail. */
static void fail_nth(int fd, unsigned int nth)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", nth);

	if (pwrite(fd, text, length, 0) != length)
		fail("fail-nth");
}

/* Whether it did. */
static bool has_failed(int fd)
{
	char text[16] = {};

	if (pread(fd, text, sizeof(text) - 1, 0) < 1)
		fail("fail-nth");
	return atoi(text) == 0;
}

static int nth_of(const char *type, unsigned int name, bool adds, int fd)
{
	unsigned int nth, errors = 0;

	for (nth = 1; nth < MAX_NTH; nth++) {
		/* Without a negative key of the last time. */
		serial_t key, ring = join_session();
		bool failed;
		int number;

		fail_nth(fd, nth);
		key = adds ? add(type, name, ring) : request(type, name, ring);
		number = errno;
		failed = has_failed(fd);
		fail_nth(fd, 0);
		count(key);

		if (key < 0) {
			errors++;
			if (!failed || number != ENOMEM)
				wrong(infos[name], number);
		} else if (!strcmp(type, "derived") && !is_right(key, name)) {
			wrong(infos[name], 0);
		}
		if (!failed)
			break;
	}
	printf("%s %s '%s': %u allocations, %u of them needed\n",
	       adds ? "add" : "request", type, infos[name], nth - 1, errors);
	if (nth == MAX_NTH || !errors) {
		wrong("allocations that fail", 0);
		return 1;
	}
	return 0;
}

static int nth(void)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR);
	unsigned int name;

	if (fd < 0)
		fail("fail-nth");
	for (name = 0; name < NAMES; name++) {
		nth_of("derived", name, true, fd);
		nth_of("derived", name, false, fd);
	}
	nth_of("derived-logon", 0, true, fd);
	nth_of("derived-logon", 1, false, fd);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	int status, i;

	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED)
		fail("mmap");
	learn();
	/* For whoever waits to make the TPM fail. */
	printf("ready\n");
	fflush(stdout);

	if (argc == 2 && !strcmp(argv[1], "nth")) {
		status = nth();
	} else if (argc == 5 && (!strcmp(argv[1], "run") || !strcmp(argv[1], "fail"))) {
		faults = !strcmp(argv[1], "fail");
		status = run(strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10),
			     strtoul(argv[4], NULL, 10));
	} else {
		fprintf(stderr, "stress nth | run|fail OPERATIONS PROCESSES SEED\n");
		return 2;
	}

	printf("operations %lu keys %lu wrong %lu\n", counts->done, counts->keys,
	       counts->wrong);
	for (i = 0; i < MAX_ERRNO; i++)
		if (counts->errors[i])
			printf("error %s %lu\n", strerrorname_np(i), counts->errors[i]);
	return status || counts->wrong;
}
