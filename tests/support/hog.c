// SPDX-License-Identifier: Apache-2.0
/*
 * A process for the OOM killer, confined to the cgroup that it joins first.
 *
 *   hog PROCS [adjust=N] [uid=N] [name=TEXT] [note=TEXT] [node=N] [hold=MIB] [threads=N] [sharers=N] [children=N] [wait]
 *       eat|gobble|leave|exit|sleep
 *   hog PROCS [hold=MIB] write=FILE|lock=FILE
 *
 * PROCS is the cgroup's cgroup.procs (or tasks) file. adjust= sets oom_score_adj, 0 by default. node= binds the process
 * to the memory of that NUMA node. hold= touches that much memory and keeps it; then a line "ready" goes to stdout.
 * wait then waits for the end of stdin. exit ends, each process at another moment within 200 ms. note= is ignored.
 * write= writes to the file, and blocks while its file system is frozen; lock= does so through a mapping that another
 * thread is about to change: then nobody can take the lock of its memory map any more. eat takes memory until it is
 * killed, in the last of N threads if there are any; gobble does so in all of them. sharers= starts other processes
 * that share its memory and idle, children= such with memory of their own. leave eats while the first thread exits;
 * sleep waits to be killed. Exit status 3: memory was refused instead (ENOMEM), try again.
 *
 * storm=SECONDS lets one child after the other join the cgroup and eat, with 0 until SIGTERM, and prints how many were
 * killed. It does not join itself: the memory that the kernel still holds for dead children would count there, until
 * storm itself is chosen. If PROCS is @LIST, a file with one such name per line, each child joins the next of them.
 * With pause=N after storm=, N microseconds pass between one child and the next.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REFUSED 3
#define MOST_PATHS 64
#define EXIT_WITHIN 200000 /* microseconds */
#define MPOL_BIND 2 /* linux/mempolicy.h */

static void die(const char *what)
{
	fprintf(stderr, "hog: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void take(size_t bytes)
{
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		exit(REFUSED);
	for (size_t at = 0; at < bytes; at += 4096)
		memory[at] = 1;
}

static void *eat(void *unused)
{
	for (;;)
		take(1 << 20);
	return unused;
}

static void *idle(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static char *mapping;

/*
 * The state of the first thread, as in /proc/PID/stat. Without stdio, which allocates: before Linux 6.7 another
 * thread's malloc() waits for the memory map that the first one holds, until it is killed.
 */
static char state(void)
{
	char line[512], *name_end;
	int fd = open("/proc/self/stat", O_RDONLY);
	ssize_t length;

	if (fd < 0)
		die("stat");
	length = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (length < 0)
		die("stat");
	line[length] = 0;
	name_end = strrchr(line, ')');
	return name_end ? name_end[2] : 0;
}

static void *change_policy(void *unused)
{
	unsigned long first_node = 1;

	/* Wait until the first thread stays in its page fault, and does not only wait for the page to be read. */
	for (int waits = 0; waits < 4; waits = state() == 'D' ? waits + 1 : 0)
		usleep(50000);
	syscall(SYS_mbind, mapping, 4096, MPOL_BIND, &first_node, 8 * sizeof(first_node), 0);
	return unused;
}

static void put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(file);
	close(fd);
}

static void start(void *(*what)(void *))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, what, NULL))
		exit(REFUSED);
}

/*
 * The first thread waits in a page fault and holds the lock of the memory map for reading, or since Linux 6.7 only that
 * of the mapping. The second thread wants the lock for writing, or has it and waits for the mapping. Readers queue up
 * behind it. Neither gives up when it is killed: with munmap() the second would, and an idle first thread would end.
 */
static void lock_memory_map(const char *file)
{
	int fd = open(file, O_RDWR);

	if (fd < 0)
		die(file);
	mapping = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapping == MAP_FAILED)
		die("mmap");
	start(change_policy);
	mapping[0] = 1;
	idle(NULL);
}

static int share(void *unused)
{
	idle(unused);
	return 0;
}

static void start_sharer(void)
{
	static char stacks[16][16384];
	static int started;

	if (started == 16 || clone(share, stacks[started + 1], CLONE_VM | SIGCHLD, NULL) < 0)
		die("clone");
	started++;
}

static void start_child(void)
{
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (child == 0)
		idle(NULL);
}

static volatile sig_atomic_t told_to_end;

static void end_storm(int signal)
{
	told_to_end = signal;
}

/* Stores the names, and returns their number. */
static int read_list(const char *file, const char **names)
{
	static char room[MOST_PATHS][4096];
	FILE *list = fopen(file, "r");
	int count = 0;

	if (!list)
		die(file);
	while (count < MOST_PATHS && fgets(room[count], sizeof(room[count]), list)) {
		room[count][strcspn(room[count], "\n")] = 0;
		names[count] = room[count];
		count++;
	}
	fclose(list);
	return count;
}

static void storm(const char *procs, int seconds, int pause_usec)
{
	time_t end = time(NULL) + seconds;
	int killed = 0, count = 1, next = 0;
	const char *names[MOST_PATHS] = {procs};

	if (procs[0] == '@')
		count = read_list(procs + 1, names);
	signal(SIGTERM, end_storm);
	while (!told_to_end && (!seconds || time(NULL) < end)) {
		int status;
		pid_t child = fork();

		if (child < 0)
			die("fork");
		if (child == 0) {
			signal(SIGTERM, SIG_DFL);
			put(names[next], "0");
			eat(NULL);
		}
		waitpid(child, &status, 0);
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		next = (next + 1) % count;
		if (pause_usec)
			usleep(pause_usec);
	}
	printf("%d\n", killed);
	exit(0);
}

int main(int count, char **words)
{
	int threads = 0, waits = 0;
	const char *name = NULL;

	if (count < 3)
		return 2;
	/* Children inherit the tests' own protection from the OOM killer. Only root may lower the value again. */
	if (getuid() == 0)
		put("/proc/self/oom_score_adj", "0");
	if (!strncmp(words[2], "storm=", 6))
		storm(words[1], atoi(words[2] + 6), count > 3 && !strncmp(words[3], "pause=", 6) ? atoi(words[3] + 6) : 0);
	put(words[1], "0");
	for (int i = 2; i < count - 1; i++) {
		if (!strncmp(words[i], "uid=", 4)) {
			if (setuid(atoi(words[i] + 4)))
				die("setuid");
		} else if (!strncmp(words[i], "adjust=", 7)) {
			put("/proc/self/oom_score_adj", words[i] + 7);
		} else if (!strncmp(words[i], "name=", 5)) {
			name = words[i] + 5;
		} else if (!strncmp(words[i], "note=", 5)) {
			continue; /* only for readers of the command line */
		} else if (!strncmp(words[i], "hold=", 5)) {
			take((size_t)atoi(words[i] + 5) << 20);
		} else if (!strncmp(words[i], "threads=", 8)) {
			threads = atoi(words[i] + 8);
		} else if (!strncmp(words[i], "sharers=", 8)) {
			for (int sharers = atoi(words[i] + 8); sharers; sharers--)
				start_sharer();
		} else if (!strncmp(words[i], "children=", 9)) {
			for (int children = atoi(words[i] + 9); children; children--)
				start_child();
		} else if (!strncmp(words[i], "node=", 5)) {
			unsigned long nodes = 1UL << atoi(words[i] + 5);
			if (syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 8 * sizeof(nodes)))
				die("set_mempolicy");
		} else if (!strcmp(words[i], "wait")) {
			waits = 1;
		} else {
			return 2;
		}
	}
	if (name && prctl(PR_SET_NAME, name))
		die("prctl");
	puts("ready");
	fflush(stdout);
	char byte;
	if (waits && read(0, &byte, 1) < 0)
		die("stdin");
	if (!strcmp(words[count - 1], "exit")) {
		usleep(getpid() * 7919 % EXIT_WITHIN);
		return 0;
	}
	if (!strncmp(words[count - 1], "write=", 6)) {
		put(words[count - 1] + 6, "x");
		idle(NULL);
	}
	if (!strncmp(words[count - 1], "lock=", 5))
		lock_memory_map(words[count - 1] + 5);
	int leaves = !strcmp(words[count - 1], "leave");
	int gobbles = !strcmp(words[count - 1], "gobble");
	int eats = leaves || gobbles || !strcmp(words[count - 1], "eat");
	for (int i = 0; i < threads; i++)
		start(eats && (gobbles || i == threads - 1) ? eat : idle);
	if (leaves)
		pthread_exit(NULL);
	if (eats && !threads)
		eat(NULL);
	idle(NULL);
}
