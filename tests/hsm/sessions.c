/* Open sessions of all processes, in one mapped file. flock() serialises: the kernel lets go of it when a process
 * dies, and rows of dead processes are swept, so that a killed user's sessions vanish as on a real token. */
#define _GNU_SOURCE
#include "hsm.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROWS 256

static struct row { long pid; CK_SLOT_ID slot; CK_ULONG all, rw; } *rows;
static int table_fd = -1;

static int enter(void)
{
    if (rows == NULL) {
        const char *path = control_text("sessions.file", NULL);
        if (path == NULL || (table_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
            return 0;
        if (ftruncate(table_fd, ROWS * sizeof *rows) != 0)
            return 0;
        void *mapped = mmap(NULL, ROWS * sizeof *rows, PROT_READ | PROT_WRITE, MAP_SHARED, table_fd, 0);
        if (mapped == MAP_FAILED)
            return 0;
        rows = mapped;
    }
    if (flock(table_fd, LOCK_EX) != 0)
        return 0;
    for (int i = 0; i < ROWS; i++)
        if (rows[i].pid != 0 && kill((pid_t)rows[i].pid, 0) != 0 && errno == ESRCH)
            rows[i] = (struct row){0};
    return 1;
}

static struct row *own(CK_SLOT_ID slot, int make)
{
    struct row *free_row = NULL;
    for (int i = 0; i < ROWS; i++) {
        if (rows[i].pid == getpid() && rows[i].slot == slot)
            return &rows[i];
        if (rows[i].pid == 0 && free_row == NULL)
            free_row = &rows[i];
    }
    if (!make || free_row == NULL)
        return NULL;
    *free_row = (struct row){getpid(), slot, 0, 0};
    return free_row;
}

static void count(CK_SLOT_ID slot, CK_ULONG *all, CK_ULONG *rw)
{
    *all = *rw = 0;
    for (int i = 0; i < ROWS; i++)
        if (rows[i].pid != 0 && rows[i].slot == slot) {
            *all += rows[i].all;
            *rw += rows[i].rw;
        }
}

void sessions_count(CK_SLOT_ID slot, CK_ULONG *all, CK_ULONG *rw)
{
    *all = *rw = UNAVAILABLE;
    if (!enter())
        return;
    count(slot, all, rw);
    flock(table_fd, LOCK_UN);
}

int sessions_open(CK_SLOT_ID slot, int rw, CK_ULONG limit)
{
    CK_ULONG all_open, rw_open;
    if (!enter())
        return 1;
    count(slot, &all_open, &rw_open);
    struct row *row = own(slot, 1);
    int fits = row != NULL && (limit == 0 || limit >= UNAVAILABLE - 1 || all_open < limit);
    if (fits) {
        row->all++;
        row->rw += (CK_ULONG)(rw != 0);
    }
    flock(table_fd, LOCK_UN);
    return fits;
}

void sessions_close(CK_SLOT_ID slot, int rw)
{
    if (!enter())
        return;
    struct row *row = own(slot, 0);
    if (row != NULL && row->all > 0) {
        row->all--;
        row->rw -= (CK_ULONG)(rw != 0 && row->rw > 0);
    }
    flock(table_fd, LOCK_UN);
}

void sessions_close_all(CK_SLOT_ID slot)
{
    if (!enter())
        return;
    for (int i = 0; i < ROWS; i++)
        if (rows[i].pid == getpid() && (slot == UNAVAILABLE || rows[i].slot == slot))
            rows[i] = (struct row){0};
    flock(table_fd, LOCK_UN);
}
