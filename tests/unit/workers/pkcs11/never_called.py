"""What a monitor must never call: functions that log in, write, reset, end others' sessions or change a configuration.

Of PKCS#11 everything in its function list but what the worker reads with; of Luna's own functions by name and by what
their names begin with.
"""

from __future__ import annotations

# PKCS#11 2.40, CK_FUNCTION_LIST: the names in their order, so that a wrong position is seen as well.
_IN_ORDER = """
C_Initialize C_Finalize C_GetInfo C_GetFunctionList C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList
C_GetMechanismInfo C_InitToken C_InitPIN C_SetPIN C_OpenSession C_CloseSession C_CloseAllSessions C_GetSessionInfo
C_GetOperationState C_SetOperationState C_Login C_Logout C_CreateObject C_CopyObject C_DestroyObject C_GetObjectSize
C_GetAttributeValue C_SetAttributeValue C_FindObjectsInit C_FindObjects C_FindObjectsFinal C_EncryptInit C_Encrypt
C_EncryptUpdate C_EncryptFinal C_DecryptInit C_Decrypt C_DecryptUpdate C_DecryptFinal C_DigestInit C_Digest
C_DigestUpdate C_DigestKey C_DigestFinal C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit C_SignRecover
C_VerifyInit C_Verify C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover C_DigestEncryptUpdate
C_DecryptDigestUpdate C_SignEncryptUpdate C_DecryptVerifyUpdate C_GenerateKey C_GenerateKeyPair C_WrapKey C_UnwrapKey
C_DeriveKey C_SeedRandom C_GenerateRandom C_GetFunctionStatus C_CancelFunction C_WaitForSlotEvent
"""
FUNCTION_LIST = _IN_ORDER.split()

READ_WITH = frozenset(
    {
        *("C_Initialize", "C_Finalize", "C_GetInfo", "C_GetFunctionList", "C_GetSlotList", "C_GetSlotInfo"),
        *("C_GetTokenInfo", "C_OpenSession", "C_CloseSession", "C_FindObjectsInit", "C_FindObjects"),
        *("C_FindObjectsFinal", "C_GenerateRandom"),
        *("CA_LogGetStatus", "CA_GetTokenStorageInformation", "CA_GetHSMStorageInformation", "CA_GetFirmwareVersion"),
        *("CA_GetHSMStats", "CA_GetHSMCapabilitySet", "CA_GetHSMPolicySet", "CA_GetTokenPolicies", "CA_RoleStateGet"),
        *("CA_MTKGetState", "CA_STMGetState", "CA_GetHAState"),
    }
)
"""All that the worker may name."""

NEVER = frozenset(set(FUNCTION_LIST) - READ_WITH) | {
    *("CA_LogSetConfig", "CA_LogImportSecret", "CA_LogExportSecret", "CA_LogExternal", "CA_LogVerify"),
    *("CA_TimeSync", "CA_InitAudit", "CA_Restart", "CA_RestartForContainer", "CA_FactoryReset", "CA_Zeroize"),
    *("CA_SetApplicationID", "CA_SetApplicationIDV2", "CA_OpenApplicationID", "CA_OpenApplicationIDV2"),
    *("CA_CloseApplicationID", "CA_CloseApplicationIDV2", "CA_CloseApplicationIDForContainer"),
    *("CA_CloseAllSessions", "CA_CloseSecureToken", "CA_OpenSecureToken", "CA_OpenSessionWithAppID"),
    *("CA_ReadAndResetUtilizationMetrics", "CA_ReadUtilizationMetrics", "CA_ReadAllUtilizationCounters"),
    *("CA_SetHSMPolicy", "CA_SetHSMPolicies", "CA_SetTokenPolicies", "CA_SetContainerPolicy"),
    *("CA_SetDestructiveHSMPolicy", "CA_SetDestructiveHSMPolicies", "CA_SetContainerSize", "CA_SetTokenCertificateSignature"),
    *("CA_RoleStateSet", "CA_InitRolePIN", "CA_ChangeRolePIN", "CA_ResetPIN", "CA_CreateContainer", "CA_DeleteContainer"),
    *("CA_InitializeRemotePEDVector", "CA_DeleteRemotePEDVector", "CA_MTKZeroize", "CA_MTKRestore", "CA_MTKResplit"),
    *("CA_STMToggle", "CA_FirmwareUpdate", "CA_FirmwareRollback", "CA_CapabilityUpdate", "CA_TamperClear"),
    *("CA_HALogin", "CA_HAInit", "CA_Extract", "CA_Insert", "CA_SIMExtract", "CA_SIMInsert", "CA_CloneObject"),
    *("CA_DestroyMultipleObjects", "CA_ManualKCV", "CA_SetMofN", "CA_ModifyMofN", "CA_GenerateMofN", "CA_ActivateMofN"),
}  # fmt: skip

NEVER_BEGIN = tuple(
    f"CA_{verb}"
    for verb in (
        *("Set", "Init", "Reset", "Create", "Delete", "Destroy", "Close", "Open", "Restart", "Zeroize", "Modify"),
        *("Clone", "Insert", "Extract", "Update", "Change", "Activate", "Deactivate", "Login", "Logout", "Clear"),
        *("ReadAnd", "Firmware", "TimeSync", "LogSet", "LogImport", "Generate", "Factory", "Enable", "Disable"),
    )
)
