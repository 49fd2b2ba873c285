/* The yardstick of the sweep: slot list, slot and token information of every slot, over and over, and nothing else.
 * Usage: sweep MODULE COUNT. Prints the nanoseconds of each sweep, a line each. The module's own environment applies. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* PKCS#11 2.40, section 3.6: a CK_VERSION, then 68 pointers. */
struct functions {
    unsigned char version[2];
    void *entry[68];
};
enum { INITIALIZE = 0, GET_SLOT_LIST = 4, GET_SLOT_INFO = 5, GET_TOKEN_INFO = 6 };

struct initialize_arguments {
    void *mutexes[4];
    unsigned long flags;
    void *reserved;
};

typedef unsigned long (*get_list)(struct functions **);
typedef unsigned long (*initialize)(void *);
typedef unsigned long (*slot_list)(unsigned char, unsigned long *, unsigned long *);
typedef unsigned long (*information)(unsigned long, void *);

enum { MOST_SLOTS = 4096, TOKEN_PRESENT = 1, FLAGS_AT = 96, OS_LOCKING = 2 };

static void fail(const char *what, unsigned long value)
{
    fprintf(stderr, "%s: 0x%lx\n", what, value);
    exit(1);
}

static long long now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static void sweep(const struct functions *functions)
{
    static unsigned long slots[MOST_SLOTS];
    static unsigned char slot[512], token[512];
    unsigned long count = 0;
    unsigned long value = ((slot_list)functions->entry[GET_SLOT_LIST])(0, NULL, &count);
    if (value != 0 || count > MOST_SLOTS)
        fail("C_GetSlotList", value);
    value = ((slot_list)functions->entry[GET_SLOT_LIST])(0, slots, &count);
    if (value != 0)
        fail("C_GetSlotList", value);
    for (unsigned long i = 0; i < count; i++) {
        value = ((information)functions->entry[GET_SLOT_INFO])(slots[i], slot);
        if (value != 0)
            fail("C_GetSlotInfo", value);
        if (*(unsigned long *)(void *)(slot + FLAGS_AT) & TOKEN_PRESENT) {
            value = ((information)functions->entry[GET_TOKEN_INFO])(slots[i], token);
            if (value != 0)
                fail("C_GetTokenInfo", value);
        }
    }
}

int main(int argc, char **argv)
{
    struct initialize_arguments arguments = {.flags = OS_LOCKING};
    struct functions *functions = NULL;
    void *library = argc == 3 ? dlopen(argv[1], RTLD_NOW) : NULL;
    void *symbol = library != NULL ? dlsym(library, "C_GetFunctionList") : NULL;
    if (symbol == NULL) {
        fprintf(stderr, "usage: sweep MODULE COUNT (%s)\n", argc == 3 ? dlerror() : "two words");
        return 1;
    }
    unsigned long value = (*(get_list *)(void *)&symbol)(&functions);
    if (value != 0)
        fail("C_GetFunctionList", value);
    value = ((initialize)functions->entry[INITIALIZE])(&arguments);
    if (value != 0)
        fail("C_Initialize", value);
    for (long left = atol(argv[2]); left > 0; left--) {
        long long started = now();
        sweep(functions);
        printf("%lld\n", now() - started);
    }
    return 0;
}
