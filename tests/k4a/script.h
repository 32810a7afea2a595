/* What the stand-ins of libk4a, libk4arecord and libk4abt share: a script, which says capture by capture what the camera
 * sees and what goes wrong, and the parts of the public interface (k4atypes.h, k4abttypes.h) that cross the boundary.
 * A connected camera is a file <K4A_SCRIPTS>/<number>.script; a recording is such a file, too. Little-endian, packed by
 * hand; test_sensors_azure.py writes them.
 */
#ifndef SCRIPT_H
#define SCRIPT_H

#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SUCCEEDED, FAILED, TIMEOUT_OR_MORE }; /* k4a_result_t, k4a_wait_result_t; "too small", "end of file" elsewhere */

typedef struct { float position[3], orientation[4]; int32_t confidence; } joint_t;
typedef struct { joint_t joints[32]; } skeleton_t;
typedef struct { uint32_t id; skeleton_t skeleton; } body_t;
_Static_assert(sizeof(skeleton_t) == 1024, "k4abt_skeleton_t");

typedef struct { float rotation[9], translation[3]; } extrinsics_t;
typedef struct { int type; unsigned parameter_count; float parameters[15]; } intrinsics_t;
typedef struct { extrinsics_t extrinsics; intrinsics_t intrinsics; int width, height; float metric_radius; } lens_t;
typedef struct { lens_t depth, color; extrinsics_t extrinsics[4][4]; int depth_mode, color_resolution; } calibration_t;
_Static_assert(sizeof(calibration_t) == 1032, "k4a_calibration_t");

typedef struct {
    int color_format, color_resolution, depth_mode, fps;
    _Bool synchronized_only;
    int32_t depth_delay_usec;
    int sync_mode;
    uint32_t subordinate_delay_usec;
    _Bool indicator_off;
} configuration_t;
_Static_assert(sizeof(configuration_t) == 36, "k4a_device_configuration_t");

typedef struct { int orientation, processing; int32_t gpu; const char *model; } tracker_configuration_t;

enum action {
    FRAME, LOST, NO_CAPTURE, CAPTURE_WITHOUT_DEPTH, TRACKER_TIMES_OUT, TRACKER_FAILS, LEAK, ABORT, HANG, EXIT, TRACKER_HANGS
};

typedef struct {
    uint32_t action, amount; /* time-outs, megabytes */
    uint64_t usec;           /* on the device's clock */
    uint32_t bodies, pause_ms;
    body_t body[3];
} step_t;

typedef struct {
    char serial[32];
    uint32_t steps, loop;  /* whether to begin again at the end */
    uint64_t loop_usec;    /* what the device's clock has gone on by then */
    step_t step[];
} script_t;

typedef struct { const step_t *step; uint64_t usec; int references; } capture_t;

static inline script_t *read_script(int file) {
    struct stat status;
    if (fstat(file, &status) != 0 || (size_t)status.st_size < sizeof(script_t)) return NULL;
    script_t *script = malloc((size_t)status.st_size);
    if (pread(file, script, (size_t)status.st_size, 0) != status.st_size ||
        (size_t)status.st_size != sizeof(script_t) + script->steps * sizeof(step_t)) {
        free(script);
        return NULL;
    }
    return script;
}

static inline capture_t *new_capture(const step_t *step, uint64_t usec) {
    capture_t *capture = malloc(sizeof *capture);
    *capture = (capture_t){step, usec, 1};
    return capture;
}

static inline void wait_ms(int32_t milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    while (milliseconds < 0) pause(); /* K4A_WAIT_INFINITE */
    nanosleep(&time, NULL);
}

/* For the test to read: what was called, with which settings. */
static inline void note(const char *text) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/calls", getenv("K4A_SCRIPTS"));
    FILE *file = fopen(path, "a");
    fprintf(file, "%s\n", text);
    fclose(file);
}

#endif
