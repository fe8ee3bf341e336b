/* The least that a relay of RTP can do: what comes on one port leaves by the other. It looks at
 * nothing, counts nothing, refuses nobody: the measure of what everything else costs.
 *
 *   relay sleep|spin|tick < flows
 *
 * A line of flows is four times `address port`: its two sockets, then where what comes on the first
 * one goes, and on the second one. With `spin` it looks for packets without sleeping, with `tick`
 * once in 200 us. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

struct leg {
	int socket, out;       /* where packets come, and the socket that they leave by */
	struct sockaddr_in to; /* where they go */
};

static struct sockaddr_in address(const char *ip, int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	if (inet_pton(AF_INET, ip, &at.sin_addr) != 1)
		exit(2);
	return at;
}

static int listen_on(struct sockaddr_in at)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (void *)&at, sizeof at)) {
		perror("bind");
		exit(1);
	}
	return fd;
}

static void wait_for(int epoll, struct leg *leg)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = leg};
	epoll_ctl(epoll, EPOLL_CTL_ADD, leg->socket, &event);
}

static void pass_on(struct leg *leg)
{
	char packet[2048];
	ssize_t size = recv(leg->socket, packet, sizeof packet, 0);
	if (size > 0)
		sendto(leg->out, packet, size, 0, (void *)&leg->to, sizeof leg->to);
}

int main(int count, char **words)
{
	const char *how = count == 2 ? words[1] : "sleep";
	int spins = !strcmp(how, "spin"), ticks = !strcmp(how, "tick"), epoll = epoll_create1(0);
	char ip[4][64];
	int port[4];
	while (scanf("%63s %d %63s %d %63s %d %63s %d", ip[0], &port[0], ip[1], &port[1], ip[2],
		     &port[2], ip[3], &port[3]) == 8) {
		struct leg *legs = calloc(2, sizeof *legs);
		legs[0].socket = legs[1].out = listen_on(address(ip[0], port[0]));
		legs[1].socket = legs[0].out = listen_on(address(ip[1], port[1]));
		legs[0].to = address(ip[2], port[2]);
		legs[1].to = address(ip[3], port[3]);
		wait_for(epoll, &legs[0]);
		wait_for(epoll, &legs[1]);
	}
	prctl(PR_SET_TIMERSLACK, 1);
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct epoll_event events[256];
		struct timespec tick = {0, 200000};
		if (ticks)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &tick, NULL);
		int ready = epoll_wait(epoll, events, 256, spins || ticks ? 0 : -1);
		for (int n = 0; n < ready; n++)
			pass_on(events[n].data.ptr);
	}
}
