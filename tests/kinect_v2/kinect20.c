/* A stand-in of Kinect20.dll that plays a script: the part of its COM interfaces that body tracking needs.

   KINECT_SCRIPT names a file: a head and steps, as tests/test_sensors_kinect_v2.py writes them. Without the file no
   Kinect is connected: as with the real one, everything opens, and no frame comes. References are counted: a body or
   frame released once too often aborts, one never released is missing when the next is asked for. What is called is
   written to the file `calls` in the same folder. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { S_OK = 0 };
#define E_PENDING ((int32_t)0x8000000A)
#define E_FAIL ((int32_t)0x80004005)
#define E_NOTIMPL ((int32_t)0x80004001)
#define E_OUTOFMEMORY ((int32_t)0x8007000E)

enum { BODIES = 6, JOINTS = 25, POOL = 12 };
enum action { FRAME, PENDING, FAIL, LOST, ABORT, EXIT, HANG, JOINTS_FAIL };

struct joint { int32_t type; float position[3]; int32_t state; };
struct scripted { uint32_t tracked, padding; uint64_t id; struct joint joints[JOINTS]; uint32_t end; };
struct step { uint32_t action, pause_ms; int64_t ticks; struct scripted bodies[BODIES]; };
struct head { uint32_t steps, loop; int64_t loop_ticks; };

struct object { void **table; int references; const struct scripted *body; };

static struct head head;
static struct step *steps;
static uint32_t position;
static int64_t turned_ticks, due_ns;
static int available;
static struct step now;

static void note(const char *words) {
    char path[4096];
    const char *script = getenv("KINECT_SCRIPT");
    const char *slash = script ? strrchr(script, '/') : NULL;
    if (!slash) return;
    snprintf(path, sizeof path, "%.*s/calls", (int)(slash - script), script);
    FILE *file = fopen(path, "a");
    if (file) { fprintf(file, "%s\n", words); fclose(file); }
}

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int32_t unsupported(void) { return E_NOTIMPL; }
static int32_t query(void *this, const void *iid, void **out) { (void)this; (void)iid; *out = NULL; return E_NOTIMPL; }
static uint32_t add(struct object *this) { return ++this->references; }

static uint32_t release(struct object *this) {
    if (this->references <= 0) abort();
    return --this->references;
}

/* IBody */

static int32_t get_joints(struct object *this, uint32_t capacity, struct joint *joints) {
    if (capacity != JOINTS || now.action == JOINTS_FAIL) return E_FAIL;
    memcpy(joints, this->body->joints, sizeof this->body->joints);
    return S_OK;
}
static int32_t get_id(struct object *this, uint64_t *id) { *id = this->body->id; return S_OK; }
static int32_t get_tracked(struct object *this, uint8_t *tracked) { *tracked = this->body->tracked; return S_OK; }

#define NO (void *)unsupported
static void *body_table[] = {
    query, add, release, get_joints, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, get_id, get_tracked, NO, NO, NO,
};
static struct object pool[POOL];

/* IBodyFrame */

static int32_t refresh(struct object *this, uint32_t capacity, struct object **places) {
    (void)this;
    if (capacity != BODIES) return E_FAIL;
    for (int place = 0; place < BODIES; place++) {
        if (!places[place]) {
            int free_one = 0;
            while (free_one < POOL && pool[free_one].references) free_one++;
            if (free_one == POOL) return E_OUTOFMEMORY;
            places[place] = &pool[free_one];
            *places[place] = (struct object){body_table, 1, NULL};
        }
        places[place]->body = &now.bodies[place];
    }
    return S_OK;
}
static int32_t get_time(struct object *this, int64_t *ticks) { (void)this; *ticks = now.ticks; return S_OK; }
static void *frame_table[] = {query, add, release, refresh, NO, get_time, NO};
static struct object frame = {frame_table, 0, NULL};

/* IBodyFrameReader */

static int32_t acquire(struct object *this, struct object **out) {
    (void)this;
    *out = NULL;
    if (!steps || frame.references || now_ns() < due_ns) return E_PENDING;
    if (position == head.steps && head.loop) {
        position = 0;
        turned_ticks += head.loop_ticks;
    }
    if (position == head.steps) return E_PENDING;
    now = steps[position];
    now.ticks += turned_ticks;
    if (now.action != LOST && now.action != PENDING) position++;
    due_ns = (due_ns ? due_ns : now_ns()) + now.pause_ms * 1000000LL; /* keeps time, as a camera does */
    switch (now.action) {
    case PENDING: return E_PENDING;
    case FAIL: return E_FAIL;
    case LOST: available = 0; return E_PENDING;
    case ABORT: abort();
    case EXIT: _exit(3);
    case HANG: for (;;) pause();
    }
    frame.references = 1;
    *out = &frame;
    return S_OK;
}
static void *reader_table[] = {query, add, release, NO, NO, NO, acquire, NO, NO, NO};
static struct object reader = {reader_table, 0, NULL};

/* IBodyFrameSource, IKinectSensor */

static int32_t open_reader(struct object *this, struct object **out) {
    (void)this;
    reader.references++;
    *out = &reader;
    return S_OK;
}
static void *source_table[] = {query, add, release, NO, NO, NO, NO, NO, open_reader, NO, NO, NO};
static struct object source = {source_table, 0, NULL};

static int32_t open_sensor(struct object *this) {
    (void)this;
    note("open");
    puts("Kinect");
    fflush(stdout);
    if (getchar() != EOF) abort(); /* the daemon's pipes are not for libraries */
    FILE *file = fopen(getenv("KINECT_SCRIPT"), "rb");
    if (!file) return S_OK;
    if (fread(&head, sizeof head, 1, file) != 1) return E_FAIL;
    steps = calloc(head.steps, sizeof *steps);
    if (fread(steps, sizeof *steps, head.steps, file) != head.steps) return E_FAIL;
    fclose(file);
    available = 1;
    return S_OK;
}
static int32_t close_sensor(struct object *this) {
    (void)this;
    int bodies = 0;
    for (int index = 0; index < POOL; index++) bodies += pool[index].references;
    note(bodies || frame.references ? "close, and some are not released" : "close");
    return S_OK;
}
static int32_t get_available(struct object *this, uint8_t *out) { (void)this; *out = available; return S_OK; }
static int32_t get_source(struct object *this, struct object **out) {
    (void)this;
    source.references++;
    *out = &source;
    return S_OK;
}
static void *sensor_table[] = {
    query, add, release, NO, NO, NO, open_sensor, close_sensor, NO, get_available, NO, NO, get_source,
    NO, NO, NO, NO, NO, NO, NO, NO,
};
static struct object sensor = {sensor_table, 0, NULL};

int32_t GetDefaultKinectSensor(struct object **out) {
    if (getenv("KINECT_BROKEN")) return E_FAIL;
    sensor.references++;
    *out = &sensor;
    return S_OK;
}
