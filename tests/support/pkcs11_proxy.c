/* A PKCS#11 module that passes everything on to SoftHSM2, and misbehaves on request.
 *
 * The file named by EVSD_TEST_PKCS11 says how: nothing, or a line "HOW [FUNCTION [once]]" where
 * HOW is a return value in hexadecimal, "hang", "abort", "cry" (abort with last words), "wait"
 * (until the file no longer says so) or "say:N" (write N lines and go on), and FUNCTION the only
 * one that does it.
 * The file named by EVSD_TEST_PKCS11_GCM says how AES-GCM is done: nothing (as by SoftHSM2),
 * "none", "written" (with an IV of the module's, written into the parameters: AWS CloudHSM) or
 * "appended" (one that follows the tag, and none is taken: Thales Luna in FIPS mode).
 * The file named by EVSD_TEST_PKCS11_LIST holds the only mechanisms that are listed, in decimal.
 * The file named by EVSD_TEST_PKCS11_CALLS gets a line for each call of a function below. */

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { TAG = 16, WRITTEN_IV = 12, APPENDED_IV = 16 };

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
  if (strcmp (how, "cry") == 0)
    {
      printf ("on standard output\n");
      fflush (stdout);
      fprintf (stderr, "a line\nlast words");
      abort ();
    }
  if (strncmp (how, "say:", 4) == 0)
    {
      for (long i = 0; i < atol (how + 4); i++)
        fprintf (stderr, "line %ld\n", i);
      return CKR_OK;
    }
  if (strcmp (how, "wait") == 0)
    {
      usleep (20000);
      return misbehave (function);
    }
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
/* Whether a file's first word is this one. */
static int
file_says (const char *variable, const char *word)
{
  char said[32] = "";
  const char *path = getenv (variable);
  FILE *file = path ? fopen (path, "r") : NULL;
  if (file == NULL)
    return 0;
  if (fscanf (file, "%31s", said) < 1)
    said[0] = '\0';
  fclose (file);
  return strcmp (said, word) == 0;
}

static CK_BYTE appended_iv[APPENDED_IV];
static int appends; /* in the operation that is active */

static CK_RV
make_iv (CK_SESSION_HANDLE s, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
  CK_GCM_PARAMS *given = mechanism->pParameter;
  if (file_says ("EVSD_TEST_PKCS11_GCM", "none"))
    return CKR_MECHANISM_INVALID;
  if (file_says ("EVSD_TEST_PKCS11_GCM", "written"))
    {
      if (given->ulIvLen != WRITTEN_IV || getrandom (given->pIv, WRITTEN_IV, 0) != WRITTEN_IV)
        return CKR_MECHANISM_PARAM_INVALID;
      return real->C_EncryptInit (s, mechanism, key);
    }
  if (file_says ("EVSD_TEST_PKCS11_GCM", "appended"))
    {
      CK_GCM_PARAMS made = *given;
      CK_MECHANISM with_iv = { CKM_AES_GCM, &made, sizeof made };
      if (given->ulIvLen != 0 || getrandom (appended_iv, APPENDED_IV, 0) != APPENDED_IV)
        return CKR_MECHANISM_PARAM_INVALID;
      made.pIv = appended_iv;
      made.ulIvLen = APPENDED_IV;
      made.ulIvBits = APPENDED_IV * 8;
      appends = 1;
      return real->C_EncryptInit (s, &with_iv, key);
    }
  return real->C_EncryptInit (s, mechanism, key);
}

static CK_RV
our_C_EncryptInit (CK_SESSION_HANDLE s, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
  list_call ("C_EncryptInit");
  CK_RV trouble = misbehave ("C_EncryptInit");
  appends = 0;
  if (trouble)
    return trouble;
  if (mechanism->mechanism == CKM_AES_GCM)
    return make_iv (s, mechanism, key);
  return real->C_EncryptInit (s, mechanism, key);
}

static CK_RV
our_C_Encrypt (CK_SESSION_HANDLE s, CK_BYTE *data, CK_ULONG length, CK_BYTE *sealed, CK_ULONG *room)
{
  list_call ("C_Encrypt");
  CK_RV trouble = real->C_Encrypt (s, data, length, sealed, room);
  if (trouble == CKR_OK && appends)
    {
      if (sealed != NULL)
        memcpy (sealed + *room, appended_iv, APPENDED_IV);
      *room += APPENDED_IV;
    }
  return trouble;
}

static CK_RV
our_C_DecryptInit (CK_SESSION_HANDLE s, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
  list_call ("C_DecryptInit");
  CK_RV trouble = misbehave ("C_DecryptInit");
  if (trouble)
    return trouble;
  if (mechanism->mechanism == CKM_AES_GCM && file_says ("EVSD_TEST_PKCS11_GCM", "none"))
    return CKR_MECHANISM_INVALID;
  return real->C_DecryptInit (s, mechanism, key);
}

static CK_RV
our_C_GenerateKey (CK_SESSION_HANDLE s, CK_MECHANISM *mechanism, CK_ATTRIBUTE *template,
                   CK_ULONG count, CK_OBJECT_HANDLE *key)
{
  list_call ("C_GenerateKey");
  CK_RV trouble = misbehave ("C_GenerateKey");
  if (trouble == CKR_OK && mechanism->mechanism == CKM_AES_KEY_GEN)
    trouble = misbehave ("C_GenerateKey:AES");
  return trouble ? trouble : real->C_GenerateKey (s, mechanism, template, count, key);
}

static CK_RV
our_C_GetMechanismList (CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *count)
{
  const char *path = getenv ("EVSD_TEST_PKCS11_LIST");
  FILE *file = path ? fopen (path, "r") : NULL;
  CK_ULONG found = 0, room = *count;
  unsigned long mechanism;
  if (file == NULL)
    return real->C_GetMechanismList (slot, list, count);
  while (fscanf (file, "%lu", &mechanism) == 1)
    {
      if (list != NULL && found < room)
        list[found] = mechanism;
      found++;
    }
  fclose (file);
  *count = found;
  return list != NULL && found > room ? CKR_BUFFER_TOO_SMALL : CKR_OK;
}

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
  ours.C_Encrypt = our_C_Encrypt;
  ours.C_DecryptInit = our_C_DecryptInit;
  ours.C_GetMechanismList = our_C_GetMechanismList;
  ours.C_GenerateKey = our_C_GenerateKey;
  *list = &ours;
  return CKR_OK;
}
