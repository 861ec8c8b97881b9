/* A PKCS#11 module that passes everything on to SoftHSM2, and misbehaves on request.
 *
 * The file named by EVSD_TEST_PKCS11 says how: nothing, or a line "HOW [FUNCTION [once]]" where
 * HOW is a return value in hexadecimal, "hang" or "abort", and FUNCTION the only one that does it.
 * The file named by EVSD_TEST_PKCS11_CALLS gets a line for each call of a function below. */

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST ours;

static void
list_call (const char *function)
{
  const char *path = getenv ("EVSD_TEST_PKCS11_CALLS");
  FILE *file = path ? fopen (path, "a") : NULL;
  if (file == NULL)
    return;
  fprintf (file, "%s\n", function);
  fclose (file);
}

static CK_RV
misbehave (const char *function)
{
  char how[32] = "", only[64] = "", once[8] = "";
  const char *path = getenv ("EVSD_TEST_PKCS11");
  FILE *file = path ? fopen (path, "r") : NULL;
  if (file)
    {
      if (fscanf (file, "%31s %63s %7s", how, only, once) < 1)
        how[0] = '\0';
      fclose (file);
    }
  if (how[0] == '\0' || (only[0] && strcmp (only, function) != 0))
    return CKR_OK;
  if (once[0] && truncate (path, 0) != 0)
    abort ();
  if (strcmp (how, "abort") == 0)
    abort ();
  if (strcmp (how, "hang") == 0)
    for (;;)
      pause ();
  return strtoul (how, NULL, 16);
}

#define PASS_ON(name, parameters, arguments)                                                      \
  static CK_RV our_##name parameters                                                                  \
  {                                                                                               \
    list_call (#name);                                                                            \
    CK_RV trouble = misbehave (#name);                                                            \
    return trouble ? trouble : real->name arguments;                                              \
  }

PASS_ON (C_Initialize, (void *init), (init))
PASS_ON (C_GetSlotList, (CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count),
         (present, slots, count))
PASS_ON (C_GetTokenInfo, (CK_SLOT_ID slot, CK_TOKEN_INFO *info), (slot, info))
PASS_ON (C_OpenSession,
         (CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify, CK_SESSION_HANDLE *session),
         (slot, flags, app, notify, session))
PASS_ON (C_Login, (CK_SESSION_HANDLE s, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG length),
         (s, user, pin, length))
PASS_ON (C_CreateObject,
         (CK_SESSION_HANDLE s, CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *object),
         (s, template, count, object))
PASS_ON (C_DestroyObject, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE object), (s, object))
PASS_ON (C_FindObjectsInit, (CK_SESSION_HANDLE s, CK_ATTRIBUTE *template, CK_ULONG count),
         (s, template, count))
PASS_ON (C_EncryptInit, (CK_SESSION_HANDLE s, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
         (s, mechanism, key))
PASS_ON (C_DecryptInit, (CK_SESSION_HANDLE s, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
         (s, mechanism, key))
PASS_ON (C_GenerateKey,
         (CK_SESSION_HANDLE s, CK_MECHANISM *mechanism, CK_ATTRIBUTE *template, CK_ULONG count,
          CK_OBJECT_HANDLE *key),
         (s, mechanism, template, count, key))

CK_RV
C_GetFunctionList (CK_FUNCTION_LIST **list)
{
  void *module = dlopen ("/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW | RTLD_LOCAL);
  CK_C_GetFunctionList get = module ? (CK_C_GetFunctionList)dlsym (module, "C_GetFunctionList")
                                    : NULL;
  if (get == NULL || get (&real) != CKR_OK)
    return CKR_GENERAL_ERROR;
  ours = *real;
  ours.C_Initialize = our_C_Initialize;
  ours.C_GetSlotList = our_C_GetSlotList;
  ours.C_GetTokenInfo = our_C_GetTokenInfo;
  ours.C_OpenSession = our_C_OpenSession;
  ours.C_Login = our_C_Login;
  ours.C_CreateObject = our_C_CreateObject;
  ours.C_DestroyObject = our_C_DestroyObject;
  ours.C_FindObjectsInit = our_C_FindObjectsInit;
  ours.C_EncryptInit = our_C_EncryptInit;
  ours.C_DecryptInit = our_C_DecryptInit;
  ours.C_GenerateKey = our_C_GenerateKey;
  *list = &ours;
  return CKR_OK;
}
