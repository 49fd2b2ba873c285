/* The test HSM: a PKCS#11 module that wraps SoftHSM and lies, hangs and crashes on demand.
 *
 * Own declarations of what is used of PKCS#11 2.40; no vendor header. Natural struct layout, as on Linux.
 * What it must not do: depend on anything but libc, libdl and SoftHSM at run time.
 */
#ifndef TEST_HSM_H
#define TEST_HSM_H

typedef unsigned long CK_ULONG;
typedef CK_ULONG CK_RV, CK_SLOT_ID, CK_SESSION_HANDLE, CK_FLAGS;
typedef unsigned char CK_BYTE;

struct version { CK_BYTE major, minor; };

struct slot_info {
    CK_BYTE description[64], manufacturer[32];
    CK_FLAGS flags;
    struct version hardware, firmware;
};

struct token_info {
    CK_BYTE label[32], manufacturer[32], model[16], serial[16];
    CK_FLAGS flags;
    CK_ULONG max_sessions, sessions, max_rw_sessions, rw_sessions, max_pin, min_pin;
    CK_ULONG total_public, free_public, total_private, free_private;
    struct version hardware, firmware;
    CK_BYTE utc_time[16];
};

struct session_info { CK_SLOT_ID slot; CK_ULONG state; CK_FLAGS flags; CK_ULONG device_error; };

/* CK_FUNCTION_LIST: a version and 68 pointers in the order of the standard; the positions used here. */
enum function {
    INITIALIZE, FINALIZE, GET_INFO, GET_FUNCTION_LIST, GET_SLOT_LIST, GET_SLOT_INFO, GET_TOKEN_INFO,
    OPEN_SESSION = 12, CLOSE_SESSION, CLOSE_ALL_SESSIONS, GET_SESSION_INFO,
    CREATE_OBJECT = 20,
    FIND_OBJECTS_INIT = 26, FIND_OBJECTS, FIND_OBJECTS_FINAL,
    GENERATE_RANDOM = 64, FUNCTIONS = 68
};

struct function_list { struct version version; void *entry[FUNCTIONS]; };

#define CKR_OK 0x0UL
#define CKR_ARGUMENTS_BAD 0x7UL
#define CKR_FUNCTION_NOT_SUPPORTED 0x54UL
#define CKR_SESSION_COUNT 0xB1UL
#define CKR_USER_TYPE_INVALID 0x103UL
#define CKR_TOKEN_NOT_PRESENT 0xE0UL
#define CKR_BUFFER_TOO_SMALL 0x150UL
#define CKR_LOG_FULL 0x80000035UL
#define CKF_TOKEN_PRESENT 0x1UL
#define CKF_RW_SESSION 0x2UL
#define UNAVAILABLE (~0UL)

/* control.c: the text file $HSM_TEST_CONTROL, `key<TAB>value` a line; `key@label` speaks of one token. */
const char *control_text(const char *key, const char *label);
CK_ULONG control_number(const char *key, const char *label, CK_ULONG otherwise);
double control_real(const char *key, const char *label, double otherwise);

/* Notes the call, then hangs, prints, crashes or returns as told. *forced says whether the value is to be returned. */
CK_RV fault(const char *function, const char *label, int *forced);

/* trouble.c: what else a function does to its process. `text` finds what the control file says of a fault. */
void trouble(const char *(*text)(const char *function, const char *what, const char *label), const char *function,
             const char *label);

/* sessions.c: the table of open sessions of all processes, in the file `sessions.file`. */
void sessions_count(CK_SLOT_ID slot, CK_ULONG *all, CK_ULONG *rw);
int sessions_open(CK_SLOT_ID slot, int rw, CK_ULONG limit);
void sessions_close(CK_SLOT_ID slot, int rw);
void sessions_close_all(CK_SLOT_ID slot);

/* tokens.c */
#define EXPORT __attribute__((visibility("default")))
#define EXTRA_BASE 0x70000000UL /* ids of the invented slots */
#define REAL(position, ...) ((CK_RV(*)(__VA_ARGS__))soft->entry[position])
extern struct function_list *soft; /* SoftHSM's own functions */
CK_ULONG extra_slots(void);
int invented(CK_SLOT_ID slot);
void invent(CK_SLOT_ID slot, struct token_info *info);
void pad(CK_BYTE *field, unsigned long size, const char *text);
const char *slot_label(CK_SLOT_ID slot);
CK_ULONG memory_used(CK_SLOT_ID slot);
CK_ULONG session_limit(const char *label, CK_ULONG otherwise);
void put_over(CK_SLOT_ID slot, const char *label, struct token_info *info);

/* luna.c */
int audit_full(const char *label);
void audit_log(const char *label); /* an operation that leaves records */

#endif
