// A component that answers wasi:http, for the worlds of server.wit; files, names and clocks are preview 1's, by the adapter. By the
// path that is asked for, with one argument behind `?`:
//   /hello            "hello from http", with its length
//   /bytes?N          N bytes, with their length                 /chunked?N   the same, without
//   /drip?N           N lines, a tenth of a second apart         /sleep?MS    "slept", after so many milliseconds
//   /echo             the request's body and its content-type    /count       how many bytes the request's body has
//   /ignore           does not look at the request's body        /trailers    trailers: x-guest, and the request's x-sum
//   /request          method, path, scheme, authority, headers   /status?CODE
//   /env?NAME  /file?PATH  /print?TEXT  (to stdout and stderr)   /counter     how many calls this instance has had
//   /grow?PAGES       grows the memory, or says "refused"        /fill?MIB    writes to that much of it
//   /trap  /nothing  /dropped                                    before a response
//   /late-trap  /late-spin  /unfinished                          with a part of one
//   /spin             never ends
//   /fetch?URL        what the URL's server answers to the same method and body; or 502 with the error's name. /fetch?MS,URL: in that time
//   /config?KEY  /log?WORDS                                      by wasi:config and wasi:logging, in the world `proposals`
// Anything else is 404.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http.h"

typedef exports_wasi_http_incoming_handler_own_incoming_request_t request_t;
typedef exports_wasi_http_incoming_handler_own_response_outparam_t out_t;

enum { ROOM = 65536 };
static uint8_t room[ROOM];

// A response that has begun.
typedef struct {
    wasi_http_types_own_outgoing_body_t body;
    wasi_http_types_own_output_stream_t stream;
} answer_t;

static http_string_t text(const char *words) {
    return (http_string_t){(uint8_t *)words, strlen(words)};
}

static void add(wasi_http_types_own_fields_t fields, const char *name, const void *value, size_t length) {
    http_string_t key = text(name);
    wasi_http_types_field_value_t bytes = {(uint8_t *)value, length};
    wasi_http_types_header_error_t error;
    if (!wasi_http_types_method_fields_append(wasi_http_types_borrow_fields(fields), &key, &bytes, &error))
        fprintf(stderr, "the header %s is refused: %d\n", name, error.tag);
}

// Begins a response; `length` is of its body, or -1.
static answer_t begin(out_t out, int status, wasi_http_types_own_fields_t fields, long long length) {
    char digits[24];
    if (length >= 0)
        add(fields, "content-length", digits, (size_t)snprintf(digits, sizeof digits, "%lld", length));
    answer_t answer;
    wasi_http_types_own_outgoing_response_t response = wasi_http_types_constructor_outgoing_response(fields);
    wasi_http_types_borrow_outgoing_response_t borrowed = wasi_http_types_borrow_outgoing_response(response);
    if (!wasi_http_types_method_outgoing_response_set_status_code(borrowed, (uint16_t)status))
        fprintf(stderr, "the status %d is refused\n", status);
    wasi_http_types_method_outgoing_response_body(borrowed, &answer.body);
    wasi_http_types_result_own_outgoing_response_error_code_t result = {.is_err = false};
    result.val.ok = response;
    wasi_http_types_static_response_outparam_set(out, &result);
    wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(answer.body), &answer.stream);
    return answer;
}

static wasi_http_types_own_fields_t none(void) {
    return wasi_http_types_constructor_fields();
}

static int failed(wasi_io_streams_stream_error_t *error) {
    wasi_io_streams_stream_error_free(error);
    return 0;
}

// Writes all of it, as fast as it is taken; 0 where nobody takes it.
static int put(answer_t *answer, const uint8_t *bytes, size_t length) {
    wasi_io_streams_borrow_output_stream_t stream = wasi_io_streams_borrow_output_stream(answer->stream);
    wasi_io_streams_stream_error_t error;
    while (length > 0) {
        uint64_t may = 0;
        if (!wasi_io_streams_method_output_stream_check_write(stream, &may, &error))
            return failed(&error);
        if (may == 0) {
            wasi_io_poll_own_pollable_t ready = wasi_io_streams_method_output_stream_subscribe(stream);
            wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(ready));
            wasi_io_poll_pollable_drop_own(ready);
            continue;
        }
        http_list_u8_t part = {(uint8_t *)bytes, may < length ? (size_t)may : length};
        if (!wasi_io_streams_method_output_stream_write(stream, &part, &error))
            return failed(&error);
        bytes += part.len;
        length -= part.len;
    }
    return 1;
}

static int flush(answer_t *answer) {
    wasi_io_streams_stream_error_t error;
    return wasi_io_streams_method_output_stream_blocking_flush(wasi_io_streams_borrow_output_stream(answer->stream), &error) ||
           failed(&error);
}

static void finish(answer_t *answer, wasi_http_types_own_fields_t *trailers) {
    wasi_io_streams_output_stream_drop_own(answer->stream);
    wasi_http_types_error_code_t error;
    if (!wasi_http_types_static_outgoing_body_finish(answer->body, trailers, &error))
        wasi_http_types_error_code_free(&error);
}

static void say(out_t out, int status, const char *words) {
    answer_t answer = begin(out, status, none(), (long long)strlen(words));
    put(&answer, (const uint8_t *)words, strlen(words));
    finish(&answer, NULL);
}

static void say_number(out_t out, long long number) {
    char words[32];
    snprintf(words, sizeof words, "%lld\n", number);
    say(out, 200, words);
}

// Reads the request's body to its end, to the answer if there is one; its length.
static long long take(wasi_http_types_borrow_incoming_body_t body, answer_t *answer) {
    wasi_http_types_own_input_stream_t stream;
    long long length = 0;
    if (!wasi_http_types_method_incoming_body_stream(body, &stream))
        return -1;
    for (;;) {
        http_list_u8_t part;
        wasi_io_streams_stream_error_t error;
        if (!wasi_io_streams_method_input_stream_blocking_read(wasi_io_streams_borrow_input_stream(stream), ROOM, &part, &error)) {
            if (error.tag != WASI_IO_STREAMS_STREAM_ERROR_CLOSED)
                length = -1;
            failed(&error);
            break;
        }
        length += (long long)part.len;
        int taken = !answer || put(answer, part.ptr, part.len);
        http_list_u8_free(&part);
        if (!taken)
            break;
    }
    wasi_io_streams_input_stream_drop_own(stream);
    return length;
}

static void send_bytes(out_t out, long long count, long long length) {
    answer_t answer = begin(out, 200, none(), length);
    memset(room, 'x', sizeof room);
    while (count > 0) {
        size_t part = count < ROOM ? (size_t)count : ROOM;
        if (!put(&answer, room, part))
            break;
        count -= (long long)part;
    }
    finish(&answer, NULL);
}

static void drip(out_t out, int lines) {
    answer_t answer = begin(out, 200, none(), -1);
    for (int line = 1; line <= lines; line++) {
        char words[32];
        int length = snprintf(words, sizeof words, "line %d\n", line);
        if (!put(&answer, (uint8_t *)words, (size_t)length) || !flush(&answer))
            break;
        usleep(100000);
    }
    finish(&answer, NULL);
}

// Begins a response without a length and sends a part of it.
static answer_t part_of_one(out_t out) {
    answer_t answer = begin(out, 200, none(), -1);
    put(&answer, (const uint8_t *)"a part\n", 7);
    flush(&answer);
    return answer;
}

static void send_file(out_t out, const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        say(out, 404, "no such file\n");
        return;
    }
    answer_t answer = begin(out, 200, none(), -1);
    for (size_t length; (length = fread(room, 1, sizeof room, file)) > 0;)
        put(&answer, room, length);
    fclose(file);
    finish(&answer, NULL);
}

static void echo(wasi_http_types_borrow_incoming_request_t request, out_t out) {
    wasi_http_types_own_fields_t fields = none();
    wasi_http_types_own_headers_t headers = wasi_http_types_method_incoming_request_headers(request);
    http_string_t name = text("content-type");
    wasi_http_types_list_field_value_t values;
    wasi_http_types_method_fields_get(wasi_http_types_borrow_fields(headers), &name, &values);
    for (size_t i = 0; i < values.len; i++)
        add(fields, "content-type", values.ptr[i].ptr, values.ptr[i].len);
    wasi_http_types_list_field_value_free(&values);
    wasi_http_types_fields_drop_own(headers);
    wasi_http_types_own_incoming_body_t body;
    wasi_http_types_method_incoming_request_consume(request, &body);
    answer_t answer = begin(out, 200, fields, -1);
    long long length = take(wasi_http_types_borrow_incoming_body(body), &answer);
    wasi_http_types_incoming_body_drop_own(body);
    if (length < 0) {
        // Not finished: what came was not all.
        wasi_io_streams_output_stream_drop_own(answer.stream);
        wasi_http_types_outgoing_body_drop_own(answer.body);
        return;
    }
    finish(&answer, NULL);
}

static void count(wasi_http_types_borrow_incoming_request_t request, out_t out) {
    wasi_http_types_own_incoming_body_t body;
    wasi_http_types_method_incoming_request_consume(request, &body);
    long long length = take(wasi_http_types_borrow_incoming_body(body), NULL);
    wasi_http_types_incoming_body_drop_own(body);
    if (length < 0)
        say(out, 400, "the body is broken\n");
    else
        say_number(out, length);
}

// The trailers behind a body that was read; the body is gone then.
static void copy_trailers(wasi_http_types_own_incoming_body_t body, wasi_http_types_own_fields_t to) {
    wasi_http_types_own_future_trailers_t future = wasi_http_types_static_incoming_body_finish(body);
    wasi_http_types_borrow_future_trailers_t borrowed = wasi_http_types_borrow_future_trailers(future);
    wasi_http_types_own_pollable_t ready = wasi_http_types_method_future_trailers_subscribe(borrowed);
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(ready));
    wasi_io_poll_pollable_drop_own(ready);
    wasi_http_types_result_result_option_own_trailers_error_code_void_t came;
    if (wasi_http_types_method_future_trailers_get(borrowed, &came) && !came.is_err && !came.val.ok.is_err &&
        came.val.ok.val.ok.is_some) {
        wasi_http_types_list_tuple2_field_key_field_value_t entries;
        wasi_http_types_method_fields_entries(wasi_http_types_borrow_fields(came.val.ok.val.ok.val), &entries);
        for (size_t i = 0; i < entries.len; i++) {
            char name[256];
            snprintf(name, sizeof name, "%.*s", (int)entries.ptr[i].f0.len, (char *)entries.ptr[i].f0.ptr);
            add(to, name, entries.ptr[i].f1.ptr, entries.ptr[i].f1.len);
        }
        wasi_http_types_list_tuple2_field_key_field_value_free(&entries);
        wasi_http_types_fields_drop_own(came.val.ok.val.ok.val);
    }
    wasi_http_types_future_trailers_drop_own(future);
}

static void trailers(wasi_http_types_borrow_incoming_request_t request, out_t out) {
    wasi_http_types_own_incoming_body_t body;
    wasi_http_types_method_incoming_request_consume(request, &body);
    // HTTP/1.1 has those that are announced.
    wasi_http_types_own_fields_t fields = none();
    add(fields, "trailer", "x-guest, x-sum", 14);
    answer_t answer = begin(out, 200, fields, -1);
    take(wasi_http_types_borrow_incoming_body(body), &answer);
    fields = none();
    add(fields, "x-guest", "behind the body", 15);
    copy_trailers(body, fields);
    put(&answer, (const uint8_t *)"a body\n", 7);
    finish(&answer, &fields);
}

static void describe(wasi_http_types_borrow_incoming_request_t request, out_t out) {
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    answer_t answer = begin(out, 200, none(), -1);
    char line[8192];
#define LINE(...) put(&answer, (uint8_t *)line, (size_t)snprintf(line, sizeof line, __VA_ARGS__))
    wasi_http_types_method_t method;
    wasi_http_types_method_incoming_request_method(request, &method);
    if (method.tag == WASI_HTTP_TYPES_METHOD_OTHER)
        LINE("method %.*s\n", (int)method.val.other.len, (char *)method.val.other.ptr);
    else
        LINE("method %s\n", methods[method.tag]);
    http_string_t path;
    if (wasi_http_types_method_incoming_request_path_with_query(request, &path))
        LINE("path %.*s\n", (int)path.len, (char *)path.ptr), http_string_free(&path);
    wasi_http_types_scheme_t scheme;
    if (wasi_http_types_method_incoming_request_scheme(request, &scheme))
        LINE("scheme %s\n", scheme.tag == WASI_HTTP_TYPES_SCHEME_HTTP     ? "http"
                            : scheme.tag == WASI_HTTP_TYPES_SCHEME_HTTPS ? "https"
                                                                         : "other");
    http_string_t authority;
    if (wasi_http_types_method_incoming_request_authority(request, &authority))
        LINE("authority %.*s\n", (int)authority.len, (char *)authority.ptr), http_string_free(&authority);
    wasi_http_types_own_headers_t headers = wasi_http_types_method_incoming_request_headers(request);
    wasi_http_types_list_tuple2_field_key_field_value_t entries;
    wasi_http_types_method_fields_entries(wasi_http_types_borrow_fields(headers), &entries);
    for (size_t i = 0; i < entries.len; i++)
        LINE("%.*s: %.*s\n", (int)entries.ptr[i].f0.len, (char *)entries.ptr[i].f0.ptr, (int)entries.ptr[i].f1.len,
             (char *)entries.ptr[i].f1.ptr);
#undef LINE
    wasi_http_types_list_tuple2_field_key_field_value_free(&entries);
    wasi_http_types_fields_drop_own(headers);
    finish(&answer, NULL);
}

static void grow(out_t out, size_t pages) {
    if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1)
        say(out, 200, "refused\n");
    else
        say(out, 200, "grown\n");
}

static void fill(out_t out, size_t mib) {
    for (size_t i = 0; i < mib; i++) {
        char *one = malloc(1 << 20);
        if (!one) {
            say(out, 200, "refused\n");
            return;
        }
        memset(one, (int)i + 1, 1 << 20);
        // Not to be left out.
        __asm__ volatile("" : : "r"(one) : "memory");
    }
    say(out, 200, "filled\n");
}

static void spin(void) {
    volatile int on = 1;
    while (on)
        ;
}

#ifdef OUTGOING
// As in WIT; those that carry more, with it.
static const char *const ERRORS[] = {
    "DNS-timeout", "DNS-error", "destination-not-found", "destination-unavailable", "destination-IP-prohibited",
    "destination-IP-unroutable", "connection-refused", "connection-terminated", "connection-timeout", "connection-read-timeout",
    "connection-write-timeout", "connection-limit-reached", "TLS-protocol-error", "TLS-certificate-error", "TLS-alert-received",
    "HTTP-request-denied", "HTTP-request-length-required", "HTTP-request-body-size", "HTTP-request-method-invalid",
    "HTTP-request-URI-invalid", "HTTP-request-URI-too-long",
};

// 502, with the error's name.
static void say_error(out_t out, const wasi_http_types_error_code_t *error) {
    char words[64];
    size_t known = sizeof ERRORS / sizeof *ERRORS;
    if (error->tag < known)
        snprintf(words, sizeof words, "%s\n", ERRORS[error->tag]);
    else
        snprintf(words, sizeof words, "error %d\n", error->tag);
    say(out, 502, words);
}

// Sends the body of the request that is answered as that of its own.
static void send_on(wasi_http_types_borrow_incoming_request_t request, wasi_http_types_own_outgoing_body_t to) {
    answer_t sent = {.body = to};
    wasi_http_types_own_incoming_body_t body;
    wasi_http_types_method_incoming_request_consume(request, &body);
    wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(to), &sent.stream);
    take(wasi_http_types_borrow_incoming_body(body), &sent);
    wasi_http_types_incoming_body_drop_own(body);
    finish(&sent, NULL);
}

// Answers as the server of `url` does; milliseconds before a comma are how long it may take to connect, to begin, and to go on.
static void fetch(const char *url, wasi_http_types_borrow_incoming_request_t asked, out_t out) {
    char *rest;
    uint64_t limit = strtoull(url, &rest, 10) * 1000000;
    if (*rest == ',')
        url = rest + 1;
    wasi_http_types_scheme_t scheme = {.tag = WASI_HTTP_TYPES_SCHEME_HTTP};
    if (!strncmp(url, "https", 5))
        scheme.tag = WASI_HTTP_TYPES_SCHEME_HTTPS;
    const char *host = strstr(url, "://");
    if (!host) {
        say(out, 400, "no URL\n");
        return;
    }
    host += 3;
    const char *slash = strchr(host, '/');
    http_string_t authority = {(uint8_t *)host, slash ? (size_t)(slash - host) : strlen(host)}, path = text(slash ? slash : "/");
    wasi_http_types_own_outgoing_request_t request = wasi_http_types_constructor_outgoing_request(none());
    wasi_http_types_borrow_outgoing_request_t borrowed = wasi_http_types_borrow_outgoing_request(request);
    wasi_http_types_method_outgoing_request_set_scheme(borrowed, &scheme);
    wasi_http_types_method_outgoing_request_set_authority(borrowed, &authority);
    wasi_http_types_method_outgoing_request_set_path_with_query(borrowed, &path);
    wasi_http_types_method_t method;
    wasi_http_types_method_incoming_request_method(asked, &method);
    wasi_http_types_method_outgoing_request_set_method(borrowed, &method);
    wasi_http_types_own_outgoing_body_t body;
    bool sends = method.tag == WASI_HTTP_TYPES_METHOD_POST && wasi_http_types_method_outgoing_request_body(borrowed, &body);
    wasi_http_types_own_request_options_t options = wasi_http_types_constructor_request_options();
    wasi_http_types_borrow_request_options_t set = wasi_http_types_borrow_request_options(options);
    if (limit > 0) {
        wasi_http_types_method_request_options_set_connect_timeout(set, &limit);
        wasi_http_types_method_request_options_set_first_byte_timeout(set, &limit);
        wasi_http_types_method_request_options_set_between_bytes_timeout(set, &limit);
    }
    wasi_http_outgoing_handler_own_future_incoming_response_t future;
    wasi_http_outgoing_handler_error_code_t error;
    if (!wasi_http_outgoing_handler_handle(request, &options, &future, &error)) {
        say_error(out, &error);
        return;
    }
    if (sends)
        send_on(asked, body);
    wasi_http_types_borrow_future_incoming_response_t pending = wasi_http_types_borrow_future_incoming_response(future);
    wasi_http_types_own_pollable_t ready = wasi_http_types_method_future_incoming_response_subscribe(pending);
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(ready));
    wasi_io_poll_pollable_drop_own(ready);
    wasi_http_types_result_result_own_incoming_response_error_code_void_t came;
    if (!wasi_http_types_method_future_incoming_response_get(pending, &came) || came.is_err) {
        say(out, 500, "nothing came\n");
    } else if (came.val.ok.is_err) {
        say_error(out, &came.val.ok.val.err);
    } else {
        wasi_http_types_own_incoming_response_t response = came.val.ok.val.ok;
        wasi_http_types_borrow_incoming_response_t got = wasi_http_types_borrow_incoming_response(response);
        wasi_http_types_own_incoming_body_t content;
        wasi_http_types_method_incoming_response_consume(got, &content);
        answer_t answer = begin(out, wasi_http_types_method_incoming_response_status(got), none(), -1);
        if (take(wasi_http_types_borrow_incoming_body(content), &answer) < 0) {
            // Not finished: what came was not all.
            wasi_io_streams_output_stream_drop_own(answer.stream);
            wasi_http_types_outgoing_body_drop_own(answer.body);
        } else {
            finish(&answer, NULL);
        }
        wasi_http_types_incoming_body_drop_own(content);
        wasi_http_types_incoming_response_drop_own(response);
    }
    wasi_http_types_future_incoming_response_drop_own(future);
}
#endif

#ifdef PROPOSALS
// A value of the configuration, or how many there are for no key.
static const char *configured(const char *key) {
    static char value[256];
    http_option_string_t found;
    http_list_tuple2_string_string_t all;
    wasi_config_store_error_t error;
    http_string_t name = text(key);
    if (!*key && wasi_config_store_get_all(&all, &error))
        snprintf(value, sizeof value, "%zu values\n", all.len);
    else if (wasi_config_store_get(&name, &found, &error) && found.is_some)
        snprintf(value, sizeof value, "%.*s\n", (int)found.val.len, (char *)found.val.ptr);
    else
        strcpy(value, "(none)\n");
    return value;
}

static void log_words(const char *words) {
    http_string_t context = text("test"), message = text(words);
    wasi_logging_logging_log(WASI_LOGGING_LOGGING_LEVEL_WARN, &context, &message);
}
#endif

static void answer_to(const char *path, const char *argument, wasi_http_types_borrow_incoming_request_t request, out_t out) {
    static int calls;
    long long number = atoll(argument);
    answer_t answer;
    calls++;
#define ASKED(name) (!strcmp(path, "/" name))
    if (ASKED("hello"))
        say(out, 200, "hello from http\n");
    else if (ASKED("bytes"))
        send_bytes(out, number, number);
    else if (ASKED("chunked"))
        send_bytes(out, number, -1);
    else if (ASKED("drip"))
        drip(out, (int)number);
    else if (ASKED("sleep"))
        usleep((useconds_t)number * 1000), say(out, 200, "slept\n");
    else if (ASKED("echo"))
        echo(request, out);
    else if (ASKED("count"))
        count(request, out);
    else if (ASKED("ignore"))
        say(out, 200, "ignored\n");
    else if (ASKED("trailers"))
        trailers(request, out);
    else if (ASKED("request"))
        describe(request, out);
    else if (ASKED("status"))
        say(out, (int)number, number == 204 || number == 304 ? "" : "as asked\n");
    else if (ASKED("env"))
        say(out, 200, getenv(argument) ? getenv(argument) : "(unset)");
    else if (ASKED("file"))
        send_file(out, argument);
    else if (ASKED("print"))
        printf("%s\n", argument), fflush(stdout), fprintf(stderr, "%s\n", argument), say(out, 200, "printed\n");
    else if (ASKED("counter"))
        say_number(out, calls);
    else if (ASKED("grow"))
        grow(out, (size_t)number);
    else if (ASKED("fill"))
        fill(out, (size_t)number);
    else if (ASKED("trap"))
        __builtin_trap();
    else if (ASKED("nothing"))
        return;
    else if (ASKED("dropped"))
        wasi_http_types_response_outparam_drop_own(out);
    else if (ASKED("spin"))
        spin();
    else if (ASKED("late-trap"))
        part_of_one(out), usleep(100000), __builtin_trap();
    else if (ASKED("late-spin"))
        part_of_one(out), usleep(100000), spin();
    else if (ASKED("unfinished")) {
        answer = part_of_one(out);
        wasi_io_streams_output_stream_drop_own(answer.stream);
        wasi_http_types_outgoing_body_drop_own(answer.body);
    }
#ifdef PROPOSALS
    else if (ASKED("config"))
        say(out, 200, configured(argument));
    else if (ASKED("log"))
        log_words(argument), say(out, 200, "logged\n");
#endif
#ifdef OUTGOING
    else if (ASKED("fetch"))
        fetch(argument, request, out);
#endif
    else
        say(out, 404, "no such path\n");
#undef ASKED
}

void exports_wasi_http_incoming_handler_handle(request_t request, out_t out) {
    char path[4096] = "/";
    http_string_t asked;
    wasi_http_types_borrow_incoming_request_t borrowed = wasi_http_types_borrow_incoming_request(request);
    if (wasi_http_types_method_incoming_request_path_with_query(borrowed, &asked)) {
        snprintf(path, sizeof path, "%.*s", (int)asked.len, (char *)asked.ptr);
        http_string_free(&asked);
    }
    char *argument = strchr(path, '?');
    if (argument)
        *argument++ = 0;
    answer_to(path, argument ? argument : "", borrowed, out);
    wasi_http_types_incoming_request_drop_own(request);
}

#ifdef COMMAND
bool exports_wasi_cli_run_run(void) {
    printf("run as a command\n");
#ifdef PROPOSALS
    log_words(configured("NAME"));
#endif
    fflush(stdout);
    return true;
}
#endif
