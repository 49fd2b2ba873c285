/* The control file and the faults it asks for. Re-read when its time of change or size differs. */
#define _GNU_SOURCE
#include "hsm.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINES 512

static struct { char *key, *value; } lines[LINES];
static int line_count;
static char *text;
static struct timespec read_at;
static off_t read_size = -1;

static void read_control(void)
{
    const char *path = getenv("HSM_TEST_CONTROL");
    struct stat now;
    if (path == NULL || stat(path, &now) != 0)
        return;
    if (now.st_size == read_size && memcmp(&now.st_mtim, &read_at, sizeof read_at) == 0)
        return;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    free(text);
    text = calloc(1, (size_t)now.st_size + 1);
    size_t got = text == NULL ? 0 : fread(text, 1, (size_t)now.st_size, file);
    fclose(file);
    read_at = now.st_mtim;
    read_size = (off_t)got;
    line_count = 0;
    for (char *rest = text, *line; rest != NULL && line_count < LINES && (line = strsep(&rest, "\n")) != NULL;) {
        char *tab = strchr(line, '\t');
        if (tab == NULL)
            continue;
        *tab = '\0';
        lines[line_count].key = line;
        lines[line_count++].value = tab + 1;
    }
}

static const char *find(const char *key)
{
    for (int i = 0; i < line_count; i++)
        if (strcmp(lines[i].key, key) == 0)
            return lines[i].value;
    return NULL;
}

const char *control_text(const char *key, const char *label)
{
    char of_token[160];
    const char *found = NULL;
    read_control();
    if (label != NULL) {
        snprintf(of_token, sizeof of_token, "%s@%s", key, label);
        found = find(of_token);
    }
    return found != NULL ? found : find(key);
}

CK_ULONG control_number(const char *key, const char *label, CK_ULONG otherwise)
{
    const char *found = control_text(key, label);
    return found == NULL ? otherwise : strtoul(found, NULL, 0);
}

double control_real(const char *key, const char *label, double otherwise)
{
    const char *found = control_text(key, label);
    return found == NULL ? otherwise : strtod(found, NULL);
}

static void note_call(const char *function)
{
    const char *path = control_text("calls.file", NULL);
    int fd = path == NULL ? -1 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    char line[80];
    if (fd < 0)
        return;
    int length = snprintf(line, sizeof line, "%s\n", function);
    if (write(fd, line, (size_t)length) != length)
        abort();
    close(fd);
}

static const char *fault_text(const char *function, const char *what, const char *label)
{
    char key[120];
    snprintf(key, sizeof key, "fault.%s.%s", function, what);
    return control_text(key, label);
}

CK_RV fault(const char *function, const char *label, int *forced)
{
    const char *value;
    *forced = 0;
    note_call(function);
    if ((value = fault_text(function, "noise", label)) != NULL) {
        printf("%s\n", value);
        fflush(stdout);
        fprintf(stderr, "%s\n", value);
    }
    trouble(fault_text, function, label);
    if ((value = fault_text(function, "hang_ms", label)) != NULL) {
        long ms = strtol(value, NULL, 0);
        struct timespec left = {ms / 1000, ms % 1000 * 1000000L};
        while (nanosleep(&left, &left) != 0)
            ;
    }
    if (fault_text(function, "segv", label) != NULL)
        raise(SIGSEGV);
    if (fault_text(function, "abort", label) != NULL)
        abort();
    if ((value = fault_text(function, "exit", label)) != NULL)
        exit((int)strtol(value, NULL, 0));
    if ((value = fault_text(function, "rv", label)) == NULL)
        return CKR_OK;
    *forced = 1;
    return strtoul(value, NULL, 0);
}

__attribute__((constructor)) static void loaded(void)
{
    int forced;
    fault("dlopen", NULL, &forced);
}
