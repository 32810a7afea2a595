/* A stand-in for libk4abt (Body Tracking SDK 1.1): finds in each capture the bodies that its script names. */
#include "script.h"

typedef struct { const step_t *step; uint64_t usec; uint32_t timeouts; } tracker_t;
typedef struct { const step_t *step; uint64_t usec; } frame_t;

static int frames; /* not yet released */

int k4abt_tracker_create(const calibration_t *calibration, tracker_configuration_t configuration, tracker_t **tracker) {
    char text[PATH_MAX];
    snprintf(text, sizeof text, "tracker depth %d processing %d gpu %d model %s", calibration->depth_mode,
             configuration.processing, configuration.gpu, configuration.model ? configuration.model : "-");
    note(text);
    if (configuration.model != NULL && access(configuration.model, R_OK) != 0) return FAILED;
    *tracker = calloc(1, sizeof **tracker);
    return SUCCEEDED;
}

void k4abt_tracker_set_temporal_smoothing(tracker_t *tracker, float factor) {
    (void)tracker;
    char text[50];
    snprintf(text, sizeof text, "smoothing %.2f", factor);
    note(text);
}

void k4abt_tracker_shutdown(tracker_t *tracker) { (void)tracker; }

void k4abt_tracker_destroy(tracker_t *tracker) {
    note("destroy tracker");
    free(tracker);
}

int k4abt_tracker_enqueue_capture(tracker_t *tracker, const capture_t *capture, int32_t timeout_ms) {
    if (tracker->step != NULL) {
        wait_ms(timeout_ms);
        return TIMEOUT_OR_MORE;
    }
    if (capture->step->action == CAPTURE_WITHOUT_DEPTH) return FAILED;
    *tracker = (tracker_t){capture->step, capture->usec, capture->step->action == TRACKER_TIMES_OUT ? capture->step->amount : 0};
    return SUCCEEDED;
}

int k4abt_tracker_pop_result(tracker_t *tracker, frame_t **frame, int32_t timeout_ms) {
    if (tracker->step != NULL && tracker->step->action == TRACKER_HANGS) wait_ms(-1);
    if (tracker->step != NULL && tracker->step->action == TRACKER_FAILS) return FAILED;
    if (tracker->step == NULL || tracker->timeouts > 0) {
        if (tracker->timeouts > 0) tracker->timeouts--;
        wait_ms(timeout_ms);
        return TIMEOUT_OR_MORE;
    }
    if (++frames > 1) abort(); /* the caller does not give them back */
    *frame = malloc(sizeof **frame);
    **frame = (frame_t){tracker->step, tracker->usec};
    tracker->step = NULL;
    return SUCCEEDED;
}

void k4abt_frame_release(frame_t *frame) {
    frames--;
    free(frame);
}

uint32_t k4abt_frame_get_num_bodies(const frame_t *frame) { return frame->step->bodies; }

uint32_t k4abt_frame_get_body_id(const frame_t *frame, uint32_t index) { return frame->step->body[index].id; }

int k4abt_frame_get_body_skeleton(const frame_t *frame, uint32_t index, skeleton_t *skeleton) {
    *skeleton = frame->step->body[index].skeleton;
    return SUCCEEDED;
}

uint64_t k4abt_frame_get_device_timestamp_usec(const frame_t *frame) { return frame->usec; }
