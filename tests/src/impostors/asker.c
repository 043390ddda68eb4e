// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Asks for a key as keyctl(1) does, but as an impostor might:
 *
 *   asker [MODE]... request2 user DESCRIPTION INFO @s
 *
 *   late FIFO    not before FIFO has been opened by somebody else, and closed
 *   nameless     from a copy in memory that has no name
 *   traced       as a child that it traces
 *   forged FILE  after it has made the kernel show FILE as its executable
 *   mapped FILE  after it has mapped FILE where its own headers were (after forged)
 *   wholly       after it has become the user it is set to by all of its ids
 *   acting UID   on behalf of another user (of root's, after wholly)
 *
 * As a shared library it asks before the program that has loaded it begins.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SESSION_KEYRING (-3)

static void fail(const char *what)
{
	dprintf(2, "%s: %s\n", what, strerror(errno));
	_exit(1);
}

static void ask(char **words)
{
	long key = syscall(SYS_request_key, words[1], words[2], words[3],
			   SESSION_KEYRING);

	if (key < 0)
		fail("request_key");
	dprintf(1, "%ld\n", key);
	_exit(0);
}

#ifdef LIBRARY

__attribute__((constructor)) static void before_main(int count, char **words)
{
	if (count == 5)
		ask(words + 1);
}

#else

static int child_status(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child)
		fail("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void late(const char *fifo)
{
	char byte;
	int fd = open(fifo, O_RDONLY);

	if (fd < 0 || read(fd, &byte, 1) != 0)
		fail(fifo);
}

static void nameless(char **words)
{
	struct stat stat;
	int from = open("/proc/self/exe", O_RDONLY);
	int to = memfd_create("asker", MFD_CLOEXEC);

	if (from < 0 || to < 0 || fstat(from, &stat) ||
	    sendfile(to, from, NULL, stat.st_size) != stat.st_size)
		fail("nameless");
	words[-1] = "asker";
	fexecve(to, words - 1, environ);
	fail("fexecve");
}

static void traced(void)
{
	pid_t child = fork();

	if (child < 0)
		fail("fork");
	if (child)
		_exit(child_status(child));
	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		fail("ptrace");
}

/*
 * Puts memory of no file in the place of the program's image, with the same
 * content: the kernel lets an executable be exchanged only if it is not mapped.
 */
static void forget_own_image(void)
{
	static char maps[1 << 16];
	char program[PATH_MAX] = "";
	size_t length = 0;
	ssize_t count;
	int fd = open("/proc/self/maps", O_RDONLY);
	char *line, *next;

	if (fd < 0 || readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
		fail("/proc/self");
	while ((count = read(fd, maps + length, sizeof(maps) - 1 - length)) > 0)
		length += count;
	for (line = maps; (next = strchr(line, '\n')); line = next + 1) {
		unsigned long start, end;
		char mode[5], *copy;

		*next = '\0';
		if (sscanf(line, "%lx-%lx %4s", &start, &end, mode) != 3 ||
		    !strchr(line, '/') || strcmp(strchr(line, '/'), program))
			continue;
		copy = mmap(NULL, end - start, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (copy == MAP_FAILED)
			fail("mmap");
		memcpy(copy, (void *)start, end - start);
		if (mprotect(copy, end - start,
			     (mode[0] == 'r' ? PROT_READ : 0) |
			     (mode[1] == 'w' ? PROT_WRITE : 0) |
			     (mode[2] == 'x' ? PROT_EXEC : 0)) ||
		    mremap(copy, end - start, end - start,
			   MREMAP_MAYMOVE | MREMAP_FIXED, start) == MAP_FAILED)
			fail("mremap");
	}
}

/* In a user namespace of its own, where it may; in its parent's memory. */
static int exchange_executable(void *file)
{
	/* Any addresses that are in order will do. */
	unsigned long here = (unsigned long)&file;
	struct prctl_mm_map map = {
		.start_code = here, .end_code = here + 1,
		.start_data = here, .end_data = here,
		.start_brk = here + 1, .brk = here + 1,
		.start_stack = here,
		.arg_start = here, .arg_end = here,
		.env_start = here, .env_end = here,
		.exe_fd = open(file, O_RDONLY),
	};

	return prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0) ? errno : 0;
}

static void forged(char *file)
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	pid_t child;

	forget_own_image();
	child = clone(exchange_executable, stack + sizeof(stack),
		      CLONE_VM | CLONE_NEWUSER | SIGCHLD, file);
	if (child < 0)
		fail("clone");
	errno = child_status(child);
	if (errno)
		fail("PR_SET_MM_MAP");
}

/* The headers are needed no more once a program has begun. */
static void mapped(const char *file)
{
	unsigned long page = getauxval(AT_PHDR) & -4096UL;
	int fd = open(file, O_RDONLY);

	if (fd < 0 || mmap((void *)page, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED,
			   fd, 0) == MAP_FAILED)
		fail(file);
}

static void wholly(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		fail("setresuid");
}

static void acting(const char *uid)
{
	if (seteuid(atoi(uid)))
		fail("seteuid");
}

int main(int count, char **words)
{
	char **end = words + count;

	for (words++; end - words > 5; words++) {
		if (!strcmp(*words, "late"))
			late(*++words);
		else if (!strcmp(*words, "nameless"))
			nameless(words + 1);
		else if (!strcmp(*words, "traced"))
			traced();
		else if (!strcmp(*words, "forged"))
			forged(*++words);
		else if (!strcmp(*words, "mapped"))
			mapped(*++words);
		else if (!strcmp(*words, "wholly"))
			wholly();
		else if (!strcmp(*words, "acting"))
			acting(*++words);
		else
			break;
	}
	if (end - words != 5 || strcmp(*words, "request2")) {
		dprintf(2, "usage: asker [MODE]... request2 user DESCRIPTION INFO @s\n");
		return 2;
	}
	ask(words);
}

#endif
