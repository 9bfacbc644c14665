/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands for an engine, whose name is the program's.  With --version it says what
 * /etc/stand-in/NAME.version has; asked to judge its files, it objects with NAME.objection.
 * With other words it is a daemon: it returns when it listens on the socket that is the target of
 * /etc/stand-in/NAME.socket, answers each request with the file NAME.answer, if there is one, and
 * ends with the process that started it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char text[1 << 16];

static ssize_t have(const char *name, const char *kind)
{
    char path[256];
    snprintf(path, sizeof path, "/etc/stand-in/%s.%s", name, kind);
    int file = open(path, O_RDONLY);
    if (file < 0)
        return -1;
    ssize_t size = read(file, text, sizeof text - 1);
    close(file);
    text[size < 0 ? 0 : size] = 0;
    return size;
}

static void answer(int client, const char *name)
{
    struct timeval second = {1, 0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    if (read(client, text, sizeof text) <= 0)
        return;
    ssize_t size = have(name, "answer");
    if (size < 0)
        sleep(60); /* it hangs */
    dprintf(client, "HTTP/1.1 200 OK\r\nContent-Length: %zd\r\n\r\n%s", size, text);
}

static int serve(const char *name)
{
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    char path[256];
    int ready[2], server = socket(AF_UNIX, SOCK_STREAM, 0);
    pid_t starter = getppid();
    if (have(name, "socket") < 0 || pipe(ready))
        return 1;
    text[strcspn(text, "\n")] = 0;
    snprintf(place.sun_path, sizeof place.sun_path, "%.100s", text);
    if (bind(server, (struct sockaddr *)&place, sizeof place))
        return perror(text), 1;
    if (fork())
        return close(ready[1]), read(ready[0], path, 1) != 1;
    setsid();
    listen(server, 16);
    snprintf(path, sizeof path, "/run/%s.pid", name); /* which only root may write */
    FILE *file = fopen(path, "w");
    if (file)
        fprintf(file, "%d\n", getpid()), fclose(file);
    if (write(ready[1], "!", 1) != 1)
        return 1;
    int nowhere = open("/dev/null", O_RDWR);
    for (int number = 0; number < 3; number++)
        dup2(nowhere, number);
    close(ready[0]), close(ready[1]);
    struct pollfd wait = {server, POLLIN, 0};
    while (!kill(starter, 0) || errno == EPERM)
        if (poll(&wait, 1, 100) > 0) {
            int client = accept(server, 0, 0);
            if (!fork())
                answer(client, name), _exit(0);
            close(client);
        }
    return 0;
}

int main(int count, char **words)
{
    const char *name = strrchr(words[0], '/');
    name = name ? name + 1 : words[0];
    for (int number = 1; number < count; number++) {
        if (!strcmp(words[number], "--version"))
            return have(name, "version"), printf("%s version %s\n", name, text), 0;
        if (!strcmp(words[number], "--validate") || !strcmp(words[count - 1], "dump") ||
            !strcmp(words[count - 1], "config")) {
            if (have(name, "objection") < 0)
                return 0;
            return fprintf(stderr, "%s\n", text), 1;
        }
    }
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    return serve(name);
}
