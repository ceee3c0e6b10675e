// A component that answers wasi:http of WASI 0.3, for the worlds of service.wit. By the path that is asked for, with one argument behind
// `?`:
//   /hello            "hello from wasi 0.3", with its length      /chunked     the same, without       /empty      nothing
//   /echo             the request's body, piece by piece          /pass        the same, handed on as a whole
//   /counter          how many calls this instance has had        /sleep?MS    "N at once": the most that there were meanwhile
//   /env?NAME         a variable of the environment               /file?PATH   a file below the first folder, or 404
//   /begin            "a part", and never the rest                /after?MS    "soon", and so much later "after" to stdout
//   /trap  /spin  /nothing  /error                                before a response
//   /late-trap  /late-spin                                        with a part of one
//   /outgoing         "refused": a request of its own to port 1   /resolve?NAME  "found", for a name that has addresses
// Anything else is 404.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"

enum { ROOM = 65536, MOST = 64 };
#define HOUR 3600000

typedef struct task task_t;
// Goes on with a task, with what an event says.
typedef http_callback_code_t step_t(task_t *, uint32_t);

typedef wasi_http_types_future_result_option_own_trailers_error_code_writer_t trailers_writer_t;
typedef wasi_http_types_future_result_void_error_code_writer_t result_writer_t;

// A request, until nothing is left to be done for it.
struct task {
    http_waitable_set_t set;
    uint32_t waitable;
    step_t *step;
    // What follows a call, or bytes that are written.
    step_t *next;
    wasi_http_types_stream_u8_t reader;
    wasi_http_types_stream_u8_writer_t writer;
    trailers_writer_t trailers;
    result_writer_t result;
    const uint8_t *bytes;
    size_t left;
    int ended;
    // What follows the response; milliseconds of it.
    step_t *after;
    long milliseconds;
    int most_at_once;
    char argument[256];
    wasi_filesystem_types_method_descriptor_open_at_args_t opening;
    wasi_filesystem_types_result_own_descriptor_error_code_t opened;
    wasi_http_client_result_own_response_error_code_t sent;
#ifdef NAMES
    wasi_sockets_ip_name_lookup_result_list_ip_address_error_code_t found;
#endif
    uint8_t room[ROOM];
};

static task_t *tasks[MOST];
static int running;
static int calls;

static const wasi_http_types_result_option_own_trailers_error_code_t no_trailers = {.is_err = false};
static const wasi_http_types_result_void_error_code_t fine = {.is_err = false};

static http_callback_code_t wait(task_t *task, uint32_t waitable, step_t *step) {
    task->waitable = waitable;
    task->step = step;
    http_waitable_join(waitable, task->set);
    return HTTP_CALLBACK_CODE_WAIT(task->set);
}

http_callback_code_t exports_wasi_http_handler_handle_callback(http_event_t *event) {
    task_t *task = http_context_get_0();
    http_waitable_join(task->waitable, 0);
    return task->step(task, event->code);
}

static http_callback_code_t end(task_t *task, uint32_t code) {
    (void)code;
    for (int i = 0; i < MOST; i++)
        if (tasks[i] == task)
            tasks[i] = NULL;
    running--;
    http_waitable_set_drop(task->set);
    free(task);
    return HTTP_CALLBACK_CODE_EXIT;
}

// Goes on with `next` when a call of the host has returned.
static http_callback_code_t returned(task_t *task, uint32_t state) {
    if (state != HTTP_SUBTASK_RETURNED)
        return wait(task, task->waitable, returned);
    http_subtask_drop(task->waitable);
    return task->next(task, 0);
}

static http_callback_code_t call(task_t *task, http_subtask_status_t status, step_t *next) {
    task->next = next;
    if (HTTP_SUBTASK_STATE(status) == HTTP_SUBTASK_RETURNED)
        return next(task, 0);
    return wait(task, HTTP_SUBTASK_HANDLE(status), returned);
}

static http_callback_code_t sleep_for(task_t *task, long milliseconds, step_t *next) {
    return call(task, wasi_clocks_monotonic_clock_wait_for((uint64_t)milliseconds * 1000000), next);
}

// The end of a response: its trailers, and what became of the request's body, where that was read.
static http_callback_code_t told(task_t *task, uint32_t status) {
    (void)status;
    wasi_http_types_future_result_void_error_code_drop_writable(task->result);
    return task->after ? task->after(task, 0) : end(task, 0);
}

static http_callback_code_t finished(task_t *task, uint32_t status) {
    (void)status;
    wasi_http_types_future_result_option_own_trailers_error_code_drop_writable(task->trailers);
    if (task->result) {
        status = wasi_http_types_future_result_void_error_code_write(task->result, &fine);
        return status == HTTP_WAITABLE_STATUS_BLOCKED ? wait(task, task->result, told) : told(task, status);
    }
    return task->after ? task->after(task, 0) : end(task, 0);
}

static http_callback_code_t finish(task_t *task, uint32_t code) {
    (void)code;
    if (task->writer)
        wasi_http_types_stream_u8_drop_writable(task->writer);
    uint32_t status = wasi_http_types_future_result_option_own_trailers_error_code_write(task->trailers, &no_trailers);
    return status == HTTP_WAITABLE_STATUS_BLOCKED ? wait(task, task->trailers, finished) : finished(task, status);
}

// Writes what is left, as fast as it is taken, and goes on with `next`.
static http_callback_code_t written(task_t *task, uint32_t status) {
    for (;;) {
        if (status == HTTP_WAITABLE_STATUS_BLOCKED)
            return wait(task, task->writer, written);
        task->bytes += HTTP_WAITABLE_COUNT(status);
        task->left -= HTTP_WAITABLE_COUNT(status);
        if (HTTP_WAITABLE_STATE(status) != HTTP_WAITABLE_COMPLETED || task->left == 0)
            return task->next(task, 0);
        status = wasi_http_types_stream_u8_write(task->writer, task->bytes, task->left);
    }
}

static http_callback_code_t put(task_t *task, const void *bytes, size_t length, step_t *next) {
    task->bytes = bytes;
    task->left = length;
    task->next = next;
    if (length == 0)
        return next(task, 0);
    return written(task, wasi_http_types_stream_u8_write(task->writer, task->bytes, task->left));
}

// Returns the response; `length` is of its body, or -1. Without `contents` the task writes them.
static void respond(task_t *task, int status, long long length, wasi_http_types_stream_u8_t contents) {
    wasi_http_types_own_fields_t fields = wasi_http_types_constructor_fields();
    if (length >= 0) {
        char digits[24];
        http_string_t name = {(uint8_t *)"content-length", 14};
        wasi_http_types_field_value_t value = {(uint8_t *)digits, (size_t)snprintf(digits, sizeof digits, "%lld", length)};
        wasi_http_types_header_error_t error;
        if (!wasi_http_types_method_fields_append(wasi_http_types_borrow_fields(fields), &name, &value, &error))
            fprintf(stderr, "the length is refused: %d\n", error.tag);
    }
    if (!contents)
        contents = wasi_http_types_stream_u8_new(&task->writer);
    wasi_http_types_tuple2_own_response_future_result_void_error_code_t made;
    wasi_http_types_static_response_new(
        fields, &contents, wasi_http_types_future_result_option_own_trailers_error_code_new(&task->trailers), &made);
    wasi_http_types_future_result_void_error_code_drop_readable(made.f1);
    if (!wasi_http_types_method_response_set_status_code(wasi_http_types_borrow_response(made.f0), (uint16_t)status))
        fprintf(stderr, "the status %d is refused\n", status);
    exports_wasi_http_handler_result_own_response_error_code_t result = {.is_err = false};
    result.val.ok = made.f0;
    exports_wasi_http_handler_handle_return(result);
}

// A short response as a whole.
static http_callback_code_t say(task_t *task, int status, const char *words) {
    size_t length = (size_t)snprintf((char *)task->room, ROOM, "%s", words);
    respond(task, status, (long long)length, 0);
    return put(task, task->room, length, finish);
}

static http_callback_code_t slept(task_t *task, uint32_t code) {
    (void)code;
    char words[32];
    snprintf(words, sizeof words, "%d at once\n", task->most_at_once);
    return say(task, 200, words);
}

static http_callback_code_t print(task_t *task, uint32_t code) {
    printf("after\n");
    fflush(stdout);
    return end(task, code);
}

static http_callback_code_t go_on(task_t *task, uint32_t code) {
    (void)code;
    return sleep_for(task, task->milliseconds, print);
}

static http_callback_code_t stay(task_t *task, uint32_t code) {
    (void)code;
    return sleep_for(task, HOUR, end);
}

static http_callback_code_t trap(task_t *task, uint32_t code) {
    (void)task, (void)code;
    __builtin_trap();
}

static http_callback_code_t spin(task_t *task, uint32_t code) {
    (void)code;
    for (volatile int *at = &task->ended;; *at = *at + 1) {
    }
}

// What was written is sent before the end.
static http_callback_code_t trap_soon(task_t *task, uint32_t code) {
    (void)code;
    return sleep_for(task, 300, trap);
}

static http_callback_code_t spin_soon(task_t *task, uint32_t code) {
    (void)code;
    return sleep_for(task, 300, spin);
}

static http_callback_code_t begin(task_t *task, step_t *then) {
    respond(task, 200, -1, 0);
    return put(task, "a part\n", 7, then);
}

// Takes the request's body, and answers with it.
static void take(task_t *task, exports_wasi_http_handler_own_request_t request) {
    wasi_http_types_tuple2_stream_u8_future_result_option_own_trailers_error_code_t body;
    wasi_http_types_static_request_consume_body(
        request, wasi_http_types_future_result_void_error_code_new(&task->result), &body);
    task->reader = body.f0;
    wasi_http_types_future_result_option_own_trailers_error_code_drop_readable(body.f1);
}

static step_t more;

static http_callback_code_t came(task_t *task, uint32_t status) {
    if (status == HTTP_WAITABLE_STATUS_BLOCKED)
        return wait(task, task->reader, came);
    task->ended = HTTP_WAITABLE_STATE(status) != HTTP_WAITABLE_COMPLETED;
    return put(task, task->room, HTTP_WAITABLE_COUNT(status), more);
}

static http_callback_code_t more(task_t *task, uint32_t code) {
    (void)code;
    if (!task->ended)
        return came(task, wasi_http_types_stream_u8_read(task->reader, task->room, ROOM));
    wasi_http_types_stream_u8_drop_readable(task->reader);
    return finish(task, 0);
}

static http_callback_code_t show(task_t *task, uint32_t code) {
    (void)code;
    if (task->opened.is_err)
        return say(task, 404, "no such file\n");
    wasi_filesystem_types_tuple2_stream_u8_future_result_void_error_code_t contents;
    wasi_filesystem_types_own_descriptor_t file = task->opened.val.ok;
    wasi_filesystem_types_method_descriptor_read_via_stream(wasi_filesystem_types_borrow_descriptor(file), 0, &contents);
    wasi_filesystem_types_future_result_void_error_code_drop_readable(contents.f1);
    wasi_filesystem_types_descriptor_drop_own(file);
    respond(task, 200, -1, contents.f0);
    return finish(task, 0);
}

static http_callback_code_t open(task_t *task) {
    wasi_filesystem_preopens_list_tuple2_own_descriptor_string_t folders;
    wasi_filesystem_preopens_get_directories(&folders);
    if (folders.len == 0)
        return say(task, 404, "no folders\n");
    // It stays open, as the call has it.
    task->opening.self = wasi_filesystem_types_borrow_descriptor(folders.ptr[0].f0);
    task->opening.path = (http_string_t){(uint8_t *)task->argument, strlen(task->argument)};
    task->opening.flags = WASI_FILESYSTEM_TYPES_DESCRIPTOR_FLAGS_READ;
    return call(task, wasi_filesystem_types_method_descriptor_open_at(&task->opening, &task->opened), show);
}

static http_callback_code_t variable(task_t *task) {
    http_list_tuple2_string_string_t all;
    wasi_cli_environment_get_environment(&all);
    char words[256] = "none\n";
    for (size_t i = 0; i < all.len; i++)
        if (all.ptr[i].f0.len == strlen(task->argument) && !memcmp(all.ptr[i].f0.ptr, task->argument, all.ptr[i].f0.len))
            snprintf(words, sizeof words, "%.*s\n", (int)all.ptr[i].f1.len, (char *)all.ptr[i].f1.ptr);
    return say(task, 200, words);
}

static http_callback_code_t refused(task_t *task, uint32_t code) {
    (void)code;
    int so = task->sent.is_err && task->sent.val.err.tag == WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_REFUSED;
    return say(task, 200, so ? "refused\n" : "not refused\n");
}

static http_callback_code_t ask(task_t *task) {
    wasi_http_types_tuple2_own_request_future_result_void_error_code_t made;
    // Nobody reads its trailers.
    trailers_writer_t trailers;
    wasi_http_types_static_request_new(
        wasi_http_types_constructor_fields(), NULL,
        wasi_http_types_future_result_option_own_trailers_error_code_new(&trailers), NULL, &made);
    http_string_t host = {(uint8_t *)"127.0.0.1:1", 11}, path = {(uint8_t *)"/", 1};
    if (!wasi_http_types_method_request_set_authority(wasi_http_types_borrow_request(made.f0), &host) ||
        !wasi_http_types_method_request_set_path_with_query(wasi_http_types_borrow_request(made.f0), &path))
        fprintf(stderr, "the address is refused\n");
    wasi_http_types_future_result_void_error_code_drop_readable(made.f1);
    return call(task, wasi_http_client_send(made.f0, &task->sent), refused);
}

#ifdef NAMES
static http_callback_code_t found(task_t *task, uint32_t code) {
    (void)code;
    return say(task, 200, !task->found.is_err && task->found.val.ok.len ? "found\n" : "not found\n");
}

static http_callback_code_t resolve(task_t *task) {
    http_string_t name = {(uint8_t *)task->argument, strlen(task->argument)};
    return call(task, wasi_sockets_ip_name_lookup_resolve_addresses(name, &task->found), found);
}
#endif

static http_callback_code_t handle(task_t *task, const char *path, exports_wasi_http_handler_own_request_t request) {
    if (!strcmp(path, "/echo") || !strcmp(path, "/pass")) {
        take(task, request);
        if (!strcmp(path, "/pass")) {
            respond(task, 200, -1, task->reader);
            return finish(task, 0);
        }
        respond(task, 200, -1, 0);
        return more(task, 0);
    }
    wasi_http_types_request_drop_own(request);
    if (!strcmp(path, "/hello"))
        return say(task, 200, "hello from wasi 0.3\n");
    if (!strcmp(path, "/chunked")) {
        respond(task, 200, -1, 0);
        return put(task, "hello from wasi 0.3\n", 20, finish);
    }
    if (!strcmp(path, "/empty")) {
        respond(task, 200, -1, 0);
        return finish(task, 0);
    }
    if (!strcmp(path, "/counter")) {
        char words[32];
        snprintf(words, sizeof words, "%d\n", calls);
        return say(task, 200, words);
    }
    if (!strcmp(path, "/sleep"))
        return sleep_for(task, task->milliseconds, slept);
    if (!strcmp(path, "/env"))
        return variable(task);
    if (!strcmp(path, "/file"))
        return open(task);
    if (!strcmp(path, "/begin"))
        return begin(task, stay);
    if (!strcmp(path, "/late-trap"))
        return begin(task, trap_soon);
    if (!strcmp(path, "/late-spin"))
        return begin(task, spin_soon);
    if (!strcmp(path, "/trap"))
        return trap(task, 0);
    if (!strcmp(path, "/spin"))
        return spin(task, 0);
    if (!strcmp(path, "/nothing"))
        return end(task, 0);
    if (!strcmp(path, "/outgoing"))
        return ask(task);
#ifdef NAMES
    if (!strcmp(path, "/resolve"))
        return resolve(task);
#endif
    if (!strcmp(path, "/error")) {
        exports_wasi_http_handler_result_own_response_error_code_t result = {.is_err = true};
        result.val.err.tag = WASI_HTTP_TYPES_ERROR_CODE_INTERNAL_ERROR;
        exports_wasi_http_handler_handle_return(result);
        return end(task, 0);
    }
    if (!strcmp(path, "/after")) {
        task->after = go_on;
        return say(task, 200, "soon\n");
    }
    return say(task, 404, "unknown\n");
}

http_callback_code_t exports_wasi_http_handler_handle(exports_wasi_http_handler_own_request_t request) {
    task_t *task = calloc(1, sizeof *task);
    http_context_set_0(task);
    task->set = http_waitable_set_new();
    calls++;
    running++;
    for (int i = 0; i < MOST; i++)
        if (!tasks[i]) {
            tasks[i] = task;
            break;
        }
    for (int i = 0; i < MOST; i++)
        if (tasks[i] && tasks[i]->most_at_once < running)
            tasks[i]->most_at_once = running;
    char path[256] = "";
    http_string_t asked;
    if (wasi_http_types_method_request_get_path_with_query(wasi_http_types_borrow_request(request), &asked)) {
        snprintf(path, sizeof path, "%.*s", (int)asked.len, (char *)asked.ptr);
        http_string_free(&asked);
    }
    char *mark = strchr(path, '?');
    if (mark) {
        *mark = 0;
        snprintf(task->argument, sizeof task->argument, "%s", mark + 1);
        task->milliseconds = atol(task->argument);
    }
    return handle(task, path, request);
}
