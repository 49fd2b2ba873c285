/* The rest of Luna's functions: statistics, capabilities and policies, roles, HA groups, tamper and transport.
 *
 * Own declarations. Functions that a monitor must not call are not here either.
 */
#include "hsm.h"
#include "luna.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct statistic { CK_ULONG id, high, low; };
struct role_state { CK_BYTE flags, attempts, primary, secondary; };
struct member { char serial[20]; CK_RV status; };
struct ha_state { char serial[20]; struct member members[32]; CK_ULONG count; };
struct old_member { CK_ULONG serial; CK_RV status; };
struct old_ha_state { CK_ULONG serial; struct old_member members[32]; CK_ULONG count; };

EXPORT CK_RV CA_GetHSMStorageInformation(CK_SLOT_ID slot, CK_ULONG *overhead, CK_ULONG *total, CK_ULONG *used,
                                         CK_ULONG *free_bytes)
{
    const char *label = slot_label(slot);
    FAULT_OF_LUNA("CA_GetHSMStorageInformation", label);
    WORKS(label);
    *overhead = 4096;
    *total = control_number("hsm.storage.total", label, 16252928);
    *used = control_number("hsm.storage.used", label, 16252928);
    *free_bytes = *used > *total ? 0 : *total - *used;
    return CKR_OK;
}

/* stats.commands at stats.since, and stats.rate a second from then on. */
EXPORT CK_RV CA_GetHSMStats(CK_SLOT_ID slot, CK_ULONG count, CK_ULONG *ids, struct statistic *out)
{
    static const char *const keys[] = {"", "", "stats.up", "stats.idle", "stats.commands"};
    const char *label = slot_label(slot);
    FAULT_OF_LUNA("CA_GetHSMStats", label);
    WORKS(label);
    for (CK_ULONG i = 0; i < count; i++) {
        if (ids[i] < 2 || ids[i] > 4)
            return CKR_ARGUMENTS_BAD;
        double value = control_real(keys[ids[i]], label, 0);
        if (ids[i] == 4)
            value += control_real("stats.rate", label, 0) * since("stats.since", label);
        CK_ULONG whole = (CK_ULONG)value;
        out[i] = (struct statistic){ids[i], whole >> 32, whole & 0xFFFFFFFF};
    }
    return CKR_OK;
}

/* `id:value` pairs, separated by commas, as one key of the control file. */
static CK_RV give(const char *key, const char *label, CK_ULONG *ids, CK_ULONG *id_count, CK_ULONG *values,
                  CK_ULONG *value_count)
{
    const char *text = control_text(key, label);
    CK_ULONG found = 0, room = *id_count;
    for (const char *at = text; at != NULL && *at != '\0'; found++) {
        char *end;
        CK_ULONG id = strtoul(at, &end, 0), value = *end == ':' ? strtoul(end + 1, &end, 0) : 0;
        if (ids != NULL && found < room) {
            ids[found] = id;
            values[found] = value;
        }
        at = *end == ',' ? end + 1 : NULL;
    }
    *id_count = *value_count = found;
    return ids != NULL && found > room ? CKR_BUFFER_TOO_SMALL : CKR_OK;
}

#define SET(name, key)                                                                                                 \
    EXPORT CK_RV name(CK_SLOT_ID slot, CK_ULONG *ids, CK_ULONG *id_count, CK_ULONG *values, CK_ULONG *value_count)     \
    {                                                                                                                  \
        const char *label = slot_label(slot);                                                                          \
        FAULT_OF_LUNA(#name, label);                                                                                   \
        WORKS(label);                                                                                                  \
        return give(key, label, ids, id_count, values, value_count);                                                   \
    }

SET(CA_GetHSMCapabilitySet, "capabilities")
SET(CA_GetHSMPolicySet, "policies")
SET(CA_GetTokenPolicies, "token.policies")

EXPORT CK_RV CA_RoleStateGet(CK_SLOT_ID slot, CK_ULONG user, struct role_state *state)
{
    const char *label = slot_label(slot), *role = user == 0 ? "so" : user == 1 ? "crypto_officer" : "crypto_user";
    char key[64];
    FAULT_OF_LUNA("CA_RoleStateGet", label);
    WORKS(label);
    snprintf(key, sizeof key, "role.%s.missing", role);
    if ((user > 1 && user != 0x80000001UL) || control_number(key, label, 0))
        return CKR_USER_TYPE_INVALID;
    snprintf(key, sizeof key, "role.%s.attempts", role);
    state->attempts = (CK_BYTE)control_number(key, label, 10);
    snprintf(key, sizeof key, "role.%s.flags", role);
    state->flags = (CK_BYTE)control_number(key, label, 1);
    state->primary = state->secondary = 1;
    return CKR_OK;
}

static CK_RV number(const char *key, const char *label, CK_ULONG *value)
{
    *value = control_number(key, label, 0);
    return CKR_OK;
}

EXPORT CK_RV CA_MTKGetState(CK_SLOT_ID slot, CK_ULONG *state)
{
    const char *label = slot_label(slot);
    FAULT_OF_LUNA("CA_MTKGetState", label);
    return number("tamper.state", label, state);
}

EXPORT CK_RV CA_STMGetState(CK_SLOT_ID slot, CK_ULONG *state)
{
    const char *label = slot_label(slot);
    FAULT_OF_LUNA("CA_STMGetState", label);
    return number("transport.state", label, state);
}

/* ha.members: `serial:status` pairs; without them the slot is no group. ha.layout 1: the older structure. */
EXPORT CK_RV CA_GetHAState(CK_SLOT_ID slot, void *out)
{
    const char *label = slot_label(slot), *text = control_text("ha.members", label);
    CK_ULONG serials[32], statuses[32], serial_count = 32, status_count = 32;
    FAULT_OF_LUNA("CA_GetHAState", label);
    if (text == NULL)
        return control_number("ha.refusal", label, CKR_ARGUMENTS_BAD);
    give("ha.members", label, serials, &serial_count, statuses, &status_count);
    serial_count = serial_count > 32 ? 32 : serial_count;
    CK_ULONG shown = control_number("ha.count", label, serial_count);
    if (control_number("ha.layout", label, 2) == 1) {
        struct old_ha_state *old = out;
        old->serial = control_number("ha.serial", label, 1000);
        for (CK_ULONG i = 0; i < serial_count; i++)
            old->members[i] = (struct old_member){serials[i], statuses[i]};
        old->count = shown;
        return CKR_OK;
    }
    struct ha_state *state = out;
    snprintf(state->serial, sizeof state->serial, "%lu", control_number("ha.serial", label, 1000));
    for (CK_ULONG i = 0; i < serial_count; i++) {
        snprintf(state->members[i].serial, sizeof state->members[i].serial, "%lu", serials[i]);
        state->members[i].status = statuses[i];
    }
    state->count = shown;
    return CKR_OK;
}
