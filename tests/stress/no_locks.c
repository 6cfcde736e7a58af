/* A file system without locks, as NFS without its lock service: LD_PRELOAD this. */
#include <errno.h>

int flock(int file, int operation) {
    (void)file;
    (void)operation;
    errno = ENOLCK;
    return -1;
}
