/* What the files of Luna's functions share. */
#ifndef TEST_LUNA_H
#define TEST_LUNA_H

#define FAULT_OF_LUNA(name, label)                                                                                     \
    do {                                                                                                               \
        int forced_;                                                                                                   \
        CK_RV rv_ = fault(name, label, &forced_);                                                                      \
        if (forced_)                                                                                                   \
            return rv_;                                                                                                \
        if (refused())                                                                                                 \
            return CKR_SLOT_ID_INVALID;                                                                                \
        if (!control_number("luna", label, 0))                                                                         \
            return CKR_FUNCTION_NOT_SUPPORTED;                                                                         \
    } while (0)

/* A full audit store stops nearly everything. */
#define WORKS(label)                                                                                                   \
    do {                                                                                                               \
        if (audit_full(label))                                                                                         \
            return CKR_LOG_FULL;                                                                                       \
    } while (0)

/* Seconds since the moment that a key of the control file names. */
double since(const char *key, const char *label);

#endif
