/* A stand-in for libk4arecord: plays a script. */
#include "script.h"

typedef struct { script_t *script; uint32_t next; } playback_t;

int k4a_playback_open(const char *path, playback_t **playback) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return FAILED;
    script_t *script = read_script(file);
    close(file);
    if (script == NULL) return FAILED;
    *playback = calloc(1, sizeof **playback);
    (*playback)->script = script;
    return SUCCEEDED;
}

int k4a_playback_get_calibration(playback_t *playback, calibration_t *calibration) {
    (void)playback;
    memset(calibration, 0, sizeof *calibration);
    calibration->depth_mode = 2;
    return SUCCEEDED;
}

int k4a_playback_get_next_capture(playback_t *playback, capture_t **capture) {
    if (playback->next == playback->script->steps) return TIMEOUT_OR_MORE; /* K4A_STREAM_RESULT_EOF */
    const step_t *step = &playback->script->step[playback->next++];
    if (step->action == LOST) return FAILED;
    *capture = new_capture(step, step->usec);
    return SUCCEEDED;
}

void k4a_playback_close(playback_t *playback) {
    note("close playback");
    free(playback->script);
    free(playback);
}
