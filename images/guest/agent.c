/*
 * The guest's command server, PID 1, on a raw serial port of its own, so that the
 * device under test cannot break the channel.
 *
 * Host to guest:   "run LENGTH\n" and that many bytes of shell text;
 *                  "kill\n" while a command runs: ends it and all it started.
 * Guest to host:   "ready BOOT-ID\n" once; "out LENGTH\n" and that many bytes, as they come;
 *                  "exit STATUS\n" when the command has ended (128 + signal, as a shell has it).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define TEXT_MAX (1 << 20)

static int port;

static void die(const char *what)
{
	/* PID 1 that ends makes the kernel panic, and panic=-1 ends QEMU: the host sees it. */
	perror(what);
	exit(1);
}

static void send_all(const void *data, size_t length)
{
	const char *at = data;

	while (length) {
		ssize_t sent = write(port, at, length);

		if (sent < 0) {
			if (errno == EINTR)
				continue;
			die("write");
		}
		at += sent;
		length -= sent;
	}
}

static void say(const char *format, ...)
{
	char line[128];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	send_all(line, strlen(line));
}

static void receive(void *data, size_t length)
{
	char *at = data;

	while (length) {
		ssize_t got = read(port, at, length);

		if (got <= 0) {
			if (got < 0 && errno == EINTR)
				continue;
			die("read");
		}
		at += got;
		length -= got;
	}
}

static void receive_line(char *line, size_t size)
{
	size_t used = 0;

	for (;;) {
		char byte;

		receive(&byte, 1);
		if (byte == '\n')
			break;
		if (used + 1 < size)
			line[used++] = byte;
	}
	line[used] = 0;
}

static pid_t start(const char *text, int output)
{
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (child == 0) {
		sigset_t none;
		int input = open("/dev/null", O_RDONLY);

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setsid();
		dup2(input, 0);
		dup2(output, 1);
		dup2(output, 2);
		execl("/bin/sh", "sh", "-c", text, NULL);
		_exit(127);
	}
	return child;
}

/* Collect whatever has ended (orphans come to us); tell whether `child` did. */
static int reap(int signals, pid_t child, int *status)
{
	struct signalfd_siginfo drained;
	int ended = 0, its_status;
	pid_t who;

	while (read(signals, &drained, sizeof drained) > 0)
		;
	while ((who = waitpid(-1, &its_status, WNOHANG)) > 0)
		if (who == child) {
			*status = its_status;
			ended = 1;
		}
	return ended;
}

/* Pass on what the pipe holds now: more than 0; 0 at its end; less if it is empty. */
static ssize_t forward(int from)
{
	static char buffer[16384];
	ssize_t got = read(from, buffer, sizeof buffer);

	if (got > 0) {
		say("out %zd\n", got);
		send_all(buffer, got);
	}
	return got;
}

static void obey_while_running(pid_t child)
{
	char line[64];

	receive_line(line, sizeof line);
	if (!strcmp(line, "kill"))
		kill(-child, SIGKILL);
}

static void run(const char *text, int signals)
{
	struct pollfd wanted[] = {
		{ .fd = -1, .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
		{ .fd = port, .events = POLLIN },
	};
	int ends[2], status = 0, ended = 0;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		die("pipe2");
	/* The command's own end must block like any other standard output. */
	fcntl(ends[1], F_SETFL, 0);
	child = start(text, ends[1]);
	close(ends[1]);
	wanted[0].fd = ends[0];
	while (!ended) {
		if (poll(wanted, 3, -1) < 0) {
			if (errno != EINTR)
				die("poll");
			continue;
		}
		if (wanted[2].revents & POLLIN)
			obey_while_running(child);
		if (wanted[0].revents && forward(ends[0]) == 0)
			wanted[0].fd = -1; /* it closed its output and goes on */
		if (wanted[1].revents & POLLIN)
			ended = reap(signals, child, &status);
	}
	/* What it left in the pipe; what its own children in the background say later is lost. */
	while (forward(ends[0]) > 0)
		;
	close(ends[0]);
	say("exit %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static int open_port(const char *path)
{
	struct termios settings;
	int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0 || tcgetattr(fd, &settings))
		die(path);
	cfmakeraw(&settings);
	cfsetspeed(&settings, B115200);
	settings.c_cflag |= CLOCAL;
	settings.c_cflag &= ~CRTSCTS;
	if (tcsetattr(fd, TCSANOW, &settings))
		die(path);
	return fd;
}

static int watch_children(void)
{
	sigset_t children;
	int fd;

	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		die("signalfd");
	return fd;
}

static void announce(void)
{
	char boot_id[64] = "?";
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (file) {
		if (fgets(boot_id, sizeof boot_id, file))
			boot_id[strcspn(boot_id, "\n")] = 0;
		fclose(file);
	}
	say("ready %s\n", boot_id);
}

int main(int count, char **arguments)
{
	int signals;

	if (count != 2)
		return 2;
	port = open_port(arguments[1]);
	signals = watch_children();
	announce();
	for (;;) {
		char line[64], *text;
		size_t length;

		receive_line(line, sizeof line);
		if (sscanf(line, "run %zu", &length) != 1 || length > TEXT_MAX)
			continue; /* such as a "kill" that came after the end */
		text = malloc(length + 1);
		if (!text)
			die("malloc");
		receive(text, length);
		text[length] = 0;
		run(text, signals);
		free(text);
	}
}
