/* The wrapped PKCS#11 functions: SoftHSM's own answers, with what the control file says put over them. */
#define _GNU_SOURCE
#include "hsm.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct function_list ours;

#define FAULT(name, label)                                                                                             \
    do {                                                                                                               \
        int forced_;                                                                                                   \
        CK_RV rv_ = fault(name, label, &forced_);                                                                      \
        if (forced_)                                                                                                   \
            return rv_;                                                                                                \
    } while (0)

static CK_RV initialize(void *arguments)
{
    FAULT("C_Initialize", NULL);
    struct initialize_args *given = arguments;
    if (given != NULL && (given->flags & CKF_OS_LOCKING_OK) && control_number("initialize.cant_lock", NULL, 0))
        return CKR_CANT_LOCK;
    CK_RV rv = REAL(INITIALIZE, void *)(arguments);
    if (rv == CKR_OK)
        slots_begin();
    return rv;
}

static CK_RV finalize(void *reserved)
{
    FAULT("C_Finalize", NULL);
    sessions_close_all(UNAVAILABLE);
    return REAL(FINALIZE, void *)(reserved);
}

static CK_RV get_info(void *info)
{
    FAULT("C_GetInfo", NULL);
    return REAL(GET_INFO, void *)(info);
}

static CK_RV get_slot_list(CK_BYTE present, CK_SLOT_ID *list, CK_ULONG *count)
{
    FAULT("C_GetSlotList", NULL);
    CK_SLOT_ID found[64 + 1024];
    CK_ULONG kept = 0, room;
    if (count == NULL)
        return CKR_ARGUMENTS_BAD;
    CK_ULONG real = real_slots(found, sizeof found / sizeof *found);
    for (CK_ULONG i = 0; i < real; i++) {
        const char *label = slot_label(found[i]);
        if (control_number("slot.gone", label, 0) || (present && control_number("token.absent", label, 0)))
            continue;
        found[kept++] = shown_slot(found[i]);
    }
    room = *count;
    *count = kept;
    if (list == NULL)
        return CKR_OK;
    if (room < kept || (kept == 0 && control_number("slots.none_too_small", NULL, 0)))
        return CKR_BUFFER_TOO_SMALL;
    slots_listed();
    memcpy(list, found, kept * sizeof *list);
    return CKR_OK;
}

static CK_RV get_slot_info(CK_SLOT_ID slot, struct slot_info *info)
{
    const char *label = slot_label(slot);
    FAULT("C_GetSlotInfo", label);
    if (refused())
        return CKR_SLOT_ID_INVALID;
    slot = real_slot(slot);
    if (invented(slot)) {
        memset(info, 0, sizeof *info);
        pad(info->description, sizeof info->description, "Invented slot");
        pad(info->manufacturer, sizeof info->manufacturer, "Test HSM");
        info->flags = CKF_TOKEN_PRESENT;
    } else {
        CK_RV rv = REAL(GET_SLOT_INFO, CK_SLOT_ID, struct slot_info *)(slot, info);
        if (rv != CKR_OK)
            return rv;
    }
    if (control_number("token.absent", label, 0))
        info->flags &= ~CKF_TOKEN_PRESENT;
    info->flags = control_number("slot.flags", label, info->flags);
    return CKR_OK;
}

static CK_RV get_token_info(CK_SLOT_ID slot, struct token_info *info)
{
    const char *label = slot_label(slot);
    FAULT("C_GetTokenInfo", label);
    if (refused())
        return CKR_SLOT_ID_INVALID;
    slot = real_slot(slot);
    if (control_number("token.absent", label, 0))
        return CKR_TOKEN_NOT_PRESENT;
    if (invented(slot))
        invent(slot, info);
    else {
        CK_RV rv = REAL(GET_TOKEN_INFO, CK_SLOT_ID, struct token_info *)(slot, info);
        if (rv != CKR_OK)
            return rv;
    }
    put_over(slot, label, info);
    if (control_number("token.garbage", label, 0))
        memset(info, (int)control_number("token.garbage", label, 0), sizeof *info);
    return CKR_OK;
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *application, void *notify, CK_SESSION_HANDLE *session)
{
    const char *label = slot_label(slot);
    FAULT("C_OpenSession", label);
    if (refused())
        return CKR_SLOT_ID_INVALID;
    slot = real_slot(slot);
    if (invented(slot))
        return CKR_FUNCTION_NOT_SUPPORTED;
    int counted = control_text("sessions.max", label) != NULL;
    if (counted && !sessions_open(slot, (flags & CKF_RW_SESSION) != 0, session_limit(label, 0)))
        return CKR_SESSION_COUNT;
    CK_RV rv = REAL(OPEN_SESSION, CK_SLOT_ID, CK_FLAGS, void *, void *, CK_SESSION_HANDLE *)(
        slot, flags, application, notify, session);
    if (rv != CKR_OK && counted)
        sessions_close(slot, (flags & CKF_RW_SESSION) != 0);
    return rv;
}

static const char *session_label(CK_SESSION_HANDLE session, struct session_info *info)
{
    if (REAL(GET_SESSION_INFO, CK_SESSION_HANDLE, struct session_info *)(session, info) != CKR_OK)
        return NULL;
    return slot_label(info->slot);
}

static CK_RV close_session(CK_SESSION_HANDLE session)
{
    struct session_info info;
    const char *label = session_label(session, &info);
    FAULT("C_CloseSession", label);
    if (label != NULL)
        sessions_close(info.slot, (info.flags & CKF_RW_SESSION) != 0);
    return REAL(CLOSE_SESSION, CK_SESSION_HANDLE)(session);
}

static CK_RV close_all_sessions(CK_SLOT_ID slot)
{
    FAULT("C_CloseAllSessions", slot_label(slot));
    slot = real_slot(slot);
    sessions_close_all(slot);
    return REAL(CLOSE_ALL_SESSIONS, CK_SLOT_ID)(slot);
}

static CK_RV create_object(CK_SESSION_HANDLE session, void *template, CK_ULONG count, CK_ULONG *object)
{
    struct session_info info;
    const char *label = session_label(session, &info);
    FAULT("C_CreateObject", label);
    if (label != NULL && audit_full(label))
        return CKR_LOG_FULL;
    CK_RV rv = REAL(CREATE_OBJECT, CK_SESSION_HANDLE, void *, CK_ULONG, CK_ULONG *)(session, template, count, object);
    if (rv == CKR_OK && label != NULL)
        audit_log(label);
    return rv;
}

static CK_RV find_objects_init(CK_SESSION_HANDLE session, void *template, CK_ULONG count)
{
    struct session_info info;
    const char *label = session_label(session, &info);
    FAULT("C_FindObjectsInit", label);
    if (label != NULL && audit_full(label))
        return CKR_LOG_FULL;
    return REAL(FIND_OBJECTS_INIT, CK_SESSION_HANDLE, void *, CK_ULONG)(session, template, count);
}

static CK_RV find_objects(CK_SESSION_HANDLE session, CK_ULONG *found, CK_ULONG most, CK_ULONG *count)
{
    FAULT("C_FindObjects", NULL);
    return REAL(FIND_OBJECTS, CK_SESSION_HANDLE, CK_ULONG *, CK_ULONG, CK_ULONG *)(session, found, most, count);
}

static CK_RV find_objects_final(CK_SESSION_HANDLE session)
{
    FAULT("C_FindObjectsFinal", NULL);
    return REAL(FIND_OBJECTS_FINAL, CK_SESSION_HANDLE)(session);
}

static CK_RV generate_random(CK_SESSION_HANDLE session, CK_BYTE *random, CK_ULONG length)
{
    struct session_info info;
    const char *label = session_label(session, &info);
    FAULT("C_GenerateRandom", label);
    if (label != NULL && audit_full(label))
        return CKR_LOG_FULL;
    return REAL(GENERATE_RANDOM, CK_SESSION_HANDLE, CK_BYTE *, CK_ULONG)(session, random, length);
}

EXPORT CK_RV C_GetFunctionList(struct function_list **list)
{
    FAULT("C_GetFunctionList", NULL);
    if (soft == NULL) {
        const char *path = getenv("HSM_TEST_SOFTHSM");
        void *library = dlopen(path != NULL ? path : "libsofthsm2.so", RTLD_NOW | RTLD_LOCAL);
        CK_RV (*get)(struct function_list **) = NULL;
        if (library != NULL)
            *(void **)&get = dlsym(library, "C_GetFunctionList");
        if (get == NULL || get(&soft) != CKR_OK) {
            fprintf(stderr, "test HSM: no SoftHSM: %s\n", dlerror());
            return 0x5; /* CKR_GENERAL_ERROR */
        }
    }
    ours = *soft;
    ours.entry[INITIALIZE] = initialize;
    ours.entry[FINALIZE] = finalize;
    ours.entry[GET_INFO] = get_info;
    ours.entry[GET_FUNCTION_LIST] = C_GetFunctionList;
    ours.entry[GET_SLOT_LIST] = get_slot_list;
    ours.entry[GET_SLOT_INFO] = get_slot_info;
    ours.entry[GET_TOKEN_INFO] = get_token_info;
    ours.entry[OPEN_SESSION] = open_session;
    ours.entry[CLOSE_SESSION] = close_session;
    ours.entry[CLOSE_ALL_SESSIONS] = close_all_sessions;
    ours.entry[CREATE_OBJECT] = create_object;
    ours.entry[FIND_OBJECTS_INIT] = find_objects_init;
    ours.entry[FIND_OBJECTS] = find_objects;
    ours.entry[FIND_OBJECTS_FINAL] = find_objects_final;
    ours.entry[GENERATE_RANDOM] = generate_random;
    *list = &ours;
    return CKR_OK;
}
