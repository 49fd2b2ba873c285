/* Tokens: how they are named in the control file, which are invented, and what is put over their own figures. */
#define _GNU_SOURCE
#include "hsm.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CACHED 128

struct function_list *soft;

CK_ULONG extra_slots(void) { return control_number("slots.extra", NULL, 0); }

int invented(CK_SLOT_ID slot) { return slot >= EXTRA_BASE && slot < EXTRA_BASE + extra_slots(); }

void pad(CK_BYTE *field, size_t size, const char *text)
{
    memset(field, ' ', size);
    memcpy(field, text, strnlen(text, size));
}

static void trim(char *out, const CK_BYTE *field, size_t size)
{
    while (size > 0 && field[size - 1] == ' ')
        size--;
    memcpy(out, field, size);
    out[size] = '\0';
}

void invent(CK_SLOT_ID slot, struct token_info *info)
{
    char name[32];
    memset(info, 0, sizeof *info);
    snprintf(name, sizeof name, "extra-%02lu", slot - EXTRA_BASE);
    pad(info->label, sizeof info->label, name);
    pad(info->manufacturer, sizeof info->manufacturer, "Test HSM");
    pad(info->model, sizeof info->model, "Invented");
    snprintf(name, sizeof name, "E%015lu", slot - EXTRA_BASE);
    pad(info->serial, sizeof info->serial, name);
    info->flags = 0x40D; /* RNG, LOGIN_REQUIRED, USER_PIN_INITIALIZED, TOKEN_INITIALIZED */
    info->sessions = info->rw_sessions = 0;
    info->total_public = info->free_public = info->total_private = info->free_private = UNAVAILABLE;
    pad(info->utc_time, sizeof info->utc_time, "");
}

/* A token is spoken of by the label it has in SoftHSM, whatever it is told to show. */
const char *slot_label(CK_SLOT_ID slot)
{
    static struct { CK_SLOT_ID slot; char label[33]; } cache[CACHED];
    static int known;
    static char label[33];
    struct token_info info;
    if (soft == NULL)
        return "";
    slot = real_slot(slot);
    for (int i = 0; i < known; i++)
        if (cache[i].slot == slot)
            return cache[i].label;
    if (invented(slot))
        invent(slot, &info);
    else if (REAL(GET_TOKEN_INFO, CK_SLOT_ID, struct token_info *)(slot, &info) != CKR_OK)
        return "";
    trim(label, info.label, sizeof info.label);
    if (label[0] == '\0' || known == CACHED)
        return label;
    cache[known].slot = slot;
    strcpy(cache[known].label, label);
    return cache[known++].label;
}

/* Sum of the object files: the last 16 hexadecimal digits of a SoftHSM token's directory are its serial. */
CK_ULONG memory_used(CK_SLOT_ID slot)
{
    const char *tokens = control_text("tokens.directory", NULL);
    struct token_info info;
    char serial[17], digits[64];
    CK_ULONG used = 0;
    slot = real_slot(slot);
    if (tokens == NULL || invented(slot) || REAL(GET_TOKEN_INFO, CK_SLOT_ID, void *)(slot, &info) != CKR_OK)
        return 0;
    trim(serial, info.serial, sizeof info.serial);
    DIR *all = opendir(tokens);
    for (struct dirent *token; all != NULL && (token = readdir(all)) != NULL;) {
        size_t n = 0;
        for (const char *c = token->d_name; *c != '\0' && n + 1 < sizeof digits; c++)
            if (*c != '-')
                digits[n++] = *c;
        digits[n] = '\0';
        if (n < 16 || strcmp(digits + n - 16, serial) != 0)
            continue;
        int fd = openat(dirfd(all), token->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *objects = fd < 0 ? NULL : fdopendir(fd);
        for (struct dirent *object; objects != NULL && (object = readdir(objects)) != NULL;) {
            struct stat found;
            const char *dot = strrchr(object->d_name, '.');
            if (dot != NULL && strcmp(dot, ".object") == 0 && fstatat(fd, object->d_name, &found, 0) == 0)
                used += (CK_ULONG)found.st_size;
        }
        if (objects != NULL)
            closedir(objects);
    }
    if (all != NULL)
        closedir(all);
    return used;
}

static void put_text(CK_BYTE *field, size_t size, const char *key, const char *label)
{
    char key_hex[64];
    const char *text = control_text(key, label);
    if (text != NULL)
        pad(field, size, text);
    snprintf(key_hex, sizeof key_hex, "%s_hex", key);
    if ((text = control_text(key_hex, label)) == NULL)
        return;
    memset(field, ' ', size);
    for (size_t i = 0; i < size && text[2 * i] != '\0' && text[2 * i + 1] != '\0'; i++) {
        unsigned byte = 0;
        if (sscanf(text + 2 * i, "%2x", &byte) == 1)
            field[i] = (CK_BYTE)byte;
    }
}

static void put_number(CK_ULONG *field, const char *key, const char *label)
{
    *field = control_number(key, label, *field);
}

CK_ULONG session_limit(const char *label, CK_ULONG otherwise)
{
    return control_number("sessions.max", label, otherwise);
}

void put_over(CK_SLOT_ID slot, const char *label, struct token_info *info)
{
    CK_ULONG total = control_number("memory.total", label, UNAVAILABLE);
    if (control_text("sessions.max", label) != NULL)
        sessions_count(slot, &info->sessions, &info->rw_sessions);
    info->max_sessions = session_limit(label, info->max_sessions);
    if (total != UNAVAILABLE) {
        CK_ULONG used = memory_used(slot);
        info->total_private = total;
        info->free_private = used > total ? 0 : total - used;
    }
    put_number(&info->free_private, "memory.free", label);
    put_text(info->label, sizeof info->label, "token.label", label);
    put_text(info->manufacturer, sizeof info->manufacturer, "token.manufacturer", label);
    put_text(info->model, sizeof info->model, "token.model", label);
    put_text(info->serial, sizeof info->serial, "token.serial", label);
    put_text(info->utc_time, sizeof info->utc_time, "token.utc_time", label);
    put_number(&info->flags, "token.flags", label);
    put_number(&info->max_pin, "token.max_pin", label);
    put_number(&info->min_pin, "token.min_pin", label);
    put_number(&info->sessions, "token.sessions", label);
    put_number(&info->max_rw_sessions, "token.max_rw_sessions", label);
    put_number(&info->rw_sessions, "token.rw_sessions", label);
    put_number(&info->total_public, "token.total_public", label);
    put_number(&info->free_public, "token.free_public", label);
    put_number(&info->total_private, "token.total_private", label);
    put_number(&info->free_private, "token.free_private", label);
}
