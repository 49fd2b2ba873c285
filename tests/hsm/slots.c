/* Slot numbers: SoftHSM's own, or some that each C_Initialize gives anew, as the standard allows.
 *
 * slots.numbering N: the slots are numbered from SHOWN_BASE on, beginning with the Nth; read at C_Initialize.
 * slots.list_first: every slot is refused until C_GetSlotList has filled a list, as ykcs11 does it.
 */
#include "hsm.h"
#include <stddef.h>

#define MOST 256

static CK_SLOT_ID reals[MOST];
static CK_ULONG count, first;
static int numbered, listed;

CK_ULONG real_slots(CK_SLOT_ID *found, CK_ULONG room)
{
    CK_ULONG real = room;
    if (REAL(GET_SLOT_LIST, CK_BYTE, CK_SLOT_ID *, CK_ULONG *)(0, found, &real) != CKR_OK)
        return 0;
    for (CK_ULONG i = 0; i < extra_slots() && real < room; i++)
        found[real++] = EXTRA_BASE + i;
    return real;
}

void slots_begin(void)
{
    CK_ULONG numbering = control_number("slots.numbering", NULL, UNAVAILABLE);
    listed = 0;
    numbered = numbering != UNAVAILABLE;
    count = numbered ? real_slots(reals, MOST) : 0;
    first = count == 0 ? 0 : numbering % count;
}

void slots_listed(void) { listed = 1; }

CK_SLOT_ID shown_slot(CK_SLOT_ID real)
{
    for (CK_ULONG i = 0; numbered && i < count; i++)
        if (reals[i] == real)
            return SHOWN_BASE + (i + first) % count;
    return real;
}

CK_SLOT_ID real_slot(CK_SLOT_ID shown)
{
    if (!numbered || shown < SHOWN_BASE || shown >= SHOWN_BASE + count)
        return shown;
    return reals[(shown - SHOWN_BASE + count - first) % count];
}

int refused(void)
{
    return !listed && control_number("slots.list_first", NULL, 0);
}
