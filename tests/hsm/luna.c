/* Luna's functions on the audit store, the partition and the firmware. Exported by name only. */
#define _GNU_SOURCE
#include "hsm.h"
#include "luna.h"
#include <fcntl.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

double since(const char *key, const char *label)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9 - control_real(key, label, 0);
}

/* Records made by operations of all processes, as a number in the file `audit.file`; `more` are added. */
static double audit_logged(double more)
{
    const char *path = control_text("audit.file", NULL);
    double logged = 0;
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return 0;
    if (flock(fd, LOCK_EX) != 0 || pread(fd, &logged, sizeof logged, 0) != sizeof logged)
        logged = 0;
    logged += more;
    if (more > 0 && pwrite(fd, &logged, sizeof logged, 0) != sizeof logged)
        abort();
    close(fd);
    return logged;
}

/* audit.records at the moment audit.since (seconds since the epoch), and audit.rate records a second from then on. */
static double audit_records(const char *label)
{
    double records = control_real("audit.records", label, 0)
                     + control_real("audit.rate", label, 0) * since("audit.since", label);
    records += audit_logged(0);
    double capacity = control_real("audit.capacity", label, 198120);
    return records < 0 ? 0 : records > capacity ? capacity : records;
}

void audit_log(const char *label)
{
    if (control_number("luna", label, 0))
        audit_logged(control_real("audit.per_object", label, 0));
}

int audit_full(const char *label)
{
    return control_number("luna", label, 0) && audit_records(label) >= control_real("audit.capacity", label, 198120);
}

EXPORT CK_RV CA_LogGetStatus(CK_SLOT_ID slot, CK_ULONG *initialized, CK_ULONG *last_poll, CK_ULONG *last_config,
                      CK_ULONG *config_in_parameters, CK_ULONG *records)
{
    const char *label = slot_label(slot);
    FAULT_OF_LUNA("CA_LogGetStatus", label);
    *config_in_parameters = 1;
    *initialized = control_number("audit.initialized", label, 1);
    *last_config = CKR_OK;
    *last_poll = control_number("audit.last_poll", label, audit_full(label) ? CKR_LOG_FULL : CKR_OK);
    *records = (CK_ULONG)floor(audit_records(label));
    return CKR_OK;
}

EXPORT CK_RV CA_GetTokenStorageInformation(CK_SLOT_ID slot, CK_ULONG *overhead, CK_ULONG *total, CK_ULONG *used,
                                    CK_ULONG *free_bytes, CK_ULONG *objects)
{
    const char *label = slot_label(slot);
    FAULT_OF_LUNA("CA_GetTokenStorageInformation", label);
    WORKS(label);
    *overhead = 2048;
    *total = control_number("storage.total", label, control_number("memory.total", label, 2097152));
    *used = control_number("storage.used", label, memory_used(slot));
    *free_bytes = *used > *total ? 0 : *total - *used;
    *objects = control_number("storage.objects", label, 0);
    return CKR_OK;
}

EXPORT CK_RV CA_GetFirmwareVersion(CK_SLOT_ID slot, CK_ULONG *major, CK_ULONG *minor, CK_ULONG *sub)
{
    const char *label = slot_label(slot);
    FAULT_OF_LUNA("CA_GetFirmwareVersion", label);
    *major = control_number("firmware.major", label, 7);
    *minor = control_number("firmware.minor", label, 8);
    *sub = control_number("firmware.sub", label, 400);
    return CKR_OK;
}
