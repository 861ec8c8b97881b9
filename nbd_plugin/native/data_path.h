/* Handing the requests of a volume to whoever serves them without Python. */
#ifndef EVSD_DATA_PATH_H
#define EVSD_DATA_PATH_H

#include <stdbool.h>

/* To the front (`front.h`), whether there is one. */
bool data_path_hand_over(void);

/* What to do about an error of a request, to be put behind its text: often "". */
const char *data_path_remedy(int error);

#endif
