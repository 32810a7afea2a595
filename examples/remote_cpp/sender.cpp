// A minimal sender for a skelanon node's `remote` sensor, after docs/remote.md. C++17 and libzmq, nothing else.
//
//   g++ -std=c++17 -O2 sender.cpp -lzmq -o sender
//   ./sender tcp://127.0.0.1:7401 [SECONDS]                                            this machine only
//   ./sender tcp://NODE:7401 SECONDS sender.key_secret node.key                        encrypted
//
// It shows one made-up body that raises its right hand; put your sensor in the place of `see`.

#include <zmq.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

constexpr int JOINTS = 25;

struct Body {
    uint64_t id;  // the same from frame to frame for one person, below 2^63
    float joints[JOINTS][3];  // metres; x to the sensor's left, y up, z away from it
    uint8_t tracking[JOINTS];  // 0 not tracked, 1 inferred, 2 tracked
};

// A clock that runs evenly: where it begins is all the same, since the node measures that.
uint64_t now_ns() {
    using namespace std::chrono;
    return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

// What the sensor sees: replace it. Returns the time of capture on the clock above.
uint64_t see(std::vector<Body>& bodies) {
    static const float pose[JOINTS][3] = {
        {0, 0, 3}, {0, .28f, 3}, {0, .57f, 3}, {0, .72f, 3},
        {-.17f, .44f, 3}, {-.23f, .15f, 3}, {-.25f, -.1f, 2.98f}, {-.25f, -.18f, 2.97f},
        {.17f, .44f, 3}, {.23f, .15f, 3}, {.25f, -.1f, 2.98f}, {.25f, -.18f, 2.97f},
        {-.08f, -.03f, 3}, {-.1f, -.44f, 3}, {-.1f, -.86f, 3}, {-.11f, -.92f, 2.89f},
        {.08f, -.03f, 3}, {.1f, -.44f, 3}, {.1f, -.86f, 3}, {.11f, -.92f, 2.89f},
        {0, .49f, 3}, {-.25f, -.25f, 2.97f}, {-.22f, -.17f, 2.92f}, {.25f, -.25f, 2.97f}, {.22f, -.17f, 2.92f}};
    Body body{1, {}, {}};
    std::memcpy(body.joints, pose, sizeof pose);
    std::memset(body.tracking, 2, sizeof body.tracking);
    const float raised = 0.9f * static_cast<float>(std::fabs(std::sin(now_ns() * 1e-9)));
    for (int joint : {10, 11, 23, 24}) body.joints[joint][1] += raised;  // WristRight, HandRight, its tip and thumb
    bodies = {body};
    return now_ns();
}

// MessagePack, as much of it as the link needs. Joints are copied as they lie in memory: little-endian machines only.
struct Packer {
    std::string data;
    void byte(uint8_t value) { data.push_back(static_cast<char>(value)); }
    void big(uint64_t value, int bytes) { while (bytes--) byte(static_cast<uint8_t>(value >> (8 * bytes))); }
    void map(uint8_t pairs) { byte(0x80 | pairs); }  // up to 15
    void array(uint16_t items) { byte(0xdc); big(items, 2); }
    void text(const char* words) { byte(0xa0 | std::strlen(words)); data += words; }  // up to 31 bytes
    void number(uint64_t value) { byte(0xcf); big(value, 8); }
    void flag(bool value) { byte(value ? 0xc3 : 0xc2); }
    void bin(const void* bytes, uint16_t size) { byte(0xc5); big(size, 2); data.append(static_cast<const char*>(bytes), size); }
};

std::string hello() {
    Packer out;
    out.map(4);
    out.text("type"), out.text("hello");
    out.text("version"), out.number(1);
    out.text("layout"), out.text("kinect-v2-25");
    out.text("sensor"), out.text("example");
    return out.data;
}

std::string only(const char* type) {  // alive, fault, bye
    Packer out;
    out.map(1);
    out.text("type"), out.text(type);
    return out.data;
}

std::string pong(uint64_t ping_ns) {
    Packer out;
    out.map(3);
    out.text("type"), out.text("pong");
    out.text("ping_ns"), out.number(ping_ns);
    out.text("now_ns"), out.number(now_ns());
    return out.data;
}

std::string frame(uint64_t sequence, uint64_t captured_ns, bool discontinuity, const std::vector<Body>& bodies) {
    Packer out;
    out.map(5);
    out.text("type"), out.text("frame");
    out.text("sequence"), out.number(sequence);
    out.text("captured_ns"), out.number(captured_ns);
    out.text("discontinuity"), out.flag(discontinuity);
    out.text("bodies"), out.array(static_cast<uint16_t>(bodies.size()));
    for (const Body& body : bodies) {
        out.map(3);
        out.text("id"), out.number(body.id);
        out.text("joints"), out.bin(body.joints, sizeof body.joints);
        out.text("tracking"), out.bin(body.tracking, sizeof body.tracking);
    }
    return out.data;
}

// What the node says: a map of texts and whole numbers, nothing else.
struct Said {
    std::string type;
    uint64_t number = 0;  // ping_ns, window or sequence: no message has more than one
};

Said parse(const uint8_t* at, size_t size) {
    const uint8_t* const end = at + size;
    Said said;
    if (at == end || (*at & 0xf0) != 0x80) return said;
    std::string key;
    for (int items = 2 * (*at++ & 0x0f), item = 0; item < items && at < end; item++) {
        const uint8_t code = *at++;
        int bytes = 0;
        if (code >= 0xcc && code <= 0xcf) bytes = 1 << (code - 0xcc);  // uint 8 to 64
        const bool text = (code & 0xe0) == 0xa0;
        if (text) bytes = code & 0x1f;
        if (!text && !bytes && code > 0x7f) return {};
        if (end - at < bytes) return {};
        if (text && item % 2 == 0) key.assign(at, at + bytes);
        else if (text && key == "type") said.type.assign(at, at + bytes);
        else if (!text) {
            said.number = bytes ? 0 : code;
            for (int i = 0; i < bytes; i++) said.number = said.number << 8 | at[i];
        }
        at += bytes;
    }
    return said;
}

// A key, 40 characters of Z85, out of a file that `skelanon keys new` has made: `public-key = "..."`.
std::string key_in(const char* path, const char* name) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    const std::string content = text.str();
    const std::string before = std::string(name) + " = \"";
    const size_t found = content.find(before);
    if (found == std::string::npos || content.size() < found + before.size() + 40) {
        std::fprintf(stderr, "no %s in %s\n", name, path);
        std::exit(2);
    }
    return content.substr(found + before.size(), 40);
}

void* connect(void* context, int count, char** arguments) {
    void* socket = zmq_socket(context, ZMQ_DEALER);
    const int none = 0, immediate = 1, attempt_ms = 2000, pause_ms = 1000;
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_IMMEDIATE, &immediate, sizeof immediate);  // queue nothing for a node that is away
    zmq_setsockopt(socket, ZMQ_CONNECT_TIMEOUT, &attempt_ms, sizeof attempt_ms);
    zmq_setsockopt(socket, ZMQ_RECONNECT_IVL_MAX, &pause_ms, sizeof pause_ms);
    if (count > 4) {
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, key_in(arguments[3], "public-key").c_str(), 41);
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, key_in(arguments[3], "secret-key").c_str(), 41);
        zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, key_in(arguments[4], "public-key").c_str(), 41);
    }
    if (zmq_connect(socket, arguments[1])) {
        std::fprintf(stderr, "%s: %s\n", arguments[1], zmq_strerror(zmq_errno()));
        std::exit(2);
    }
    return socket;
}

int main(int count, char** arguments) {
    if (count < 2) return std::fprintf(stderr, "sender ENDPOINT [SECONDS [OWN.key_secret NODE.key]]\n"), 2;
    // Raw skeletons go in the clear to this machine only.
    const std::string endpoint = arguments[1];
    if (count < 5 && endpoint.rfind("tcp://127.0.0.1:", 0) && endpoint.rfind("ipc://", 0))
        return std::fprintf(stderr, "%s needs keys\n", arguments[1]), 2;
    const uint64_t end_ns = count > 2 ? now_ns() + static_cast<uint64_t>(std::atof(arguments[2]) * 1e9) : UINT64_MAX;
    void* context = zmq_ctx_new();
    void* socket = connect(context, count, arguments);
    auto send = [&](const std::string& data) {
        return zmq_send(socket, data.data(), data.size(), ZMQ_DONTWAIT) >= 0;
    };

    uint64_t sequence = 0, acknowledged = 0, window = 0;  // sequence: of the next frame
    uint64_t heard_ns = now_ns(), hello_ns = 0, frame_ns = 0;
    bool discontinuity = true;
    std::vector<Body> bodies;
    while (now_ns() < end_ns) {
        uint8_t buffer[256];
        const int size = zmq_recv(socket, buffer, sizeof buffer, ZMQ_DONTWAIT);
        const uint64_t now = now_ns();
        if (size >= 0 && size <= static_cast<int>(sizeof buffer)) {
            const Said said = parse(buffer, size);
            heard_ns = now;
            if (said.type == "ping") send(pong(said.number));
            if (said.type == "ack" && said.number >= acknowledged) acknowledged = said.number + 1;
            if (said.type == "ready") window = said.number, acknowledged = sequence;
            if (said.type == "who") window = 0, hello_ns = 0;
            if (said.type == "refuse") window = 0;
            continue;
        }
        if (now - heard_ns > (window ? 5000000000u : 15000000000u)) {  // the node is lost: TCP may take minutes to see it
            zmq_close(socket);
            socket = connect(context, count, arguments);
            heard_ns = now, hello_ns = 0, window = 0, discontinuity = true;
        }
        if (!window && now - hello_ns > 1000000000u && send(hello())) hello_ns = now;
        if (now - frame_ns >= 33000000u) {  // the sensor's rate
            frame_ns = now;
            const uint64_t captured_ns = see(bodies);
            const bool room = sequence - acknowledged < window;  // else this frame is dropped: a newer one will come
            if (room && send(frame(sequence, captured_ns, discontinuity, bodies))) sequence++, discontinuity = false;
            else if (window) send(only("alive"));
        }
        zmq_pollitem_t item{socket, 0, ZMQ_POLLIN, 0};
        zmq_poll(&item, 1, 5);
    }
    send(only("bye"));
    const int linger_ms = 200;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zmq_close(socket);
    zmq_ctx_term(context);
    std::printf("%llu frames sent\n", static_cast<unsigned long long>(sequence));
    return 0;
}
