/* A stand-in for libk4a (Azure Kinect Sensor SDK 1.4): those functions that a depth camera needs, and a script. */
#include "script.h"

typedef struct { int file; char path[PATH_MAX]; script_t *script; uint64_t next; struct timespec due; } device_t;

static int captures;          /* not yet released */
void *volatile leaked; /* so that the compiler does not find it useless */

static int path_of(uint32_t index, char *path) {
    for (int number = 0; number < 16; number++) {
        snprintf(path, PATH_MAX, "%s/%d.script", getenv("K4A_SCRIPTS"), number);
        if (access(path, R_OK) == 0 && index-- == 0) return 1;
    }
    return 0;
}

uint32_t k4a_device_get_installed_count(void) {
    char path[PATH_MAX];
    uint32_t count = 0;
    while (path_of(count, path)) count++;
    return count;
}

int k4a_device_open(uint32_t index, device_t **device) {
    device_t opened = {.file = -1};
    if (path_of(index, opened.path)) opened.file = open(opened.path, O_RDONLY | O_CLOEXEC);
    if (opened.file < 0) return FAILED;
    if (flock(opened.file, LOCK_EX | LOCK_NB) != 0 || (opened.script = read_script(opened.file)) == NULL) {
        close(opened.file); /* another process has it */
        return FAILED;
    }
    *device = malloc(sizeof **device);
    **device = opened;
    return SUCCEEDED;
}

void k4a_device_close(device_t *device) {
    note("close");
    close(device->file);
    free(device->script);
    free(device);
}

int k4a_device_get_serialnum(device_t *device, char *serial, size_t *size) {
    size_t needed = strlen(device->script->serial) + 1;
    int fits = serial != NULL && *size >= needed;
    *size = needed;
    if (!fits) return TIMEOUT_OR_MORE;
    memcpy(serial, device->script->serial, needed);
    printf("k4a: serial number %s\n", serial);  /* real libraries print, too */
    return SUCCEEDED;
}

int k4a_device_get_calibration(device_t *device, int depth_mode, int color_resolution, calibration_t *calibration) {
    (void)device;
    memset(calibration, 0, sizeof *calibration);
    calibration->depth_mode = depth_mode;
    calibration->color_resolution = color_resolution;
    return SUCCEEDED;
}

int k4a_device_start_cameras(device_t *device, const configuration_t *configuration) {
    (void)device;
    char text[100];
    snprintf(text, sizeof text, "start depth %d fps %d color %d", configuration->depth_mode, configuration->fps,
             configuration->color_resolution);
    note(text);
    return SUCCEEDED;
}

void k4a_device_stop_cameras(device_t *device) { (void)device; }

/* As a camera does, however late the last capture was fetched: its clock and the host's would drift apart otherwise. */
static void keep_time(device_t *device, uint32_t pause_ms) {
    struct timespec *due = &device->due;
    if (due->tv_sec == 0) clock_gettime(CLOCK_MONOTONIC, due);
    due->tv_nsec += pause_ms * 1000000L;
    due->tv_sec += due->tv_nsec / 1000000000L;
    due->tv_nsec %= 1000000000L;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, due, NULL);
}

int k4a_device_get_capture(device_t *device, capture_t **capture, int32_t timeout_ms) {
    const script_t *script = device->script;
    if (access(device->path, F_OK) != 0) return FAILED; /* unplugged */
    if (device->next >= script->steps && !script->loop) {
        wait_ms(timeout_ms);
        return TIMEOUT_OR_MORE;
    }
    const step_t *step = &script->step[device->next % script->steps];
    uint64_t usec = step->usec + device->next++ / script->steps * script->loop_usec;
    keep_time(device, step->pause_ms);
    switch (step->action) {
    case LOST: return FAILED;
    case NO_CAPTURE: wait_ms(timeout_ms); return TIMEOUT_OR_MORE;
    case LEAK: leaked = memset(malloc((size_t)step->amount << 20), 1, (size_t)step->amount << 20); break;
    case ABORT: abort();
    case EXIT: exit(3);
    case HANG: wait_ms(-1);
    }
    if (++captures > 2) abort(); /* the caller does not give them back */
    *capture = new_capture(step, usec);
    return SUCCEEDED;
}

void k4a_capture_release(capture_t *capture) {
    if (--capture->references < 0) abort();
    if (capture->references == 0) free(capture);
    captures--;
}
