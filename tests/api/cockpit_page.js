/* A page of Cockpit without a browser: Cockpit's own cockpit.js and the example, in a window that has what they use, with
 * Cockpit's own bridge at the other end of the WebSocket. Only the window and what cockpit-ws does are played.
 *
 *   node cockpit_page.js COCKPIT.JS EXAMPLE.JS WORD...      the words are those of the other examples
 */
"use strict";

const { spawn } = require("node:child_process");
const fs = require("node:fs");
const readline = require("node:readline");
const vm = require("node:vm");
const zlib = require("node:zlib");

const [cockpitFile, exampleFile, ...words] = process.argv.slice(2);

/* What cockpit-ws does: tells both sides who they are, and passes messages on. The bridge wants each with its length. */
class Socket {
    constructor() {
        this.readyState = 0;
        this.bridge = spawn("cockpit-bridge", [], { stdio: ["pipe", "pipe", "inherit"] });
        this.bridge.on("exit", () => this.onclose?.({}));
        let waiting = Buffer.alloc(0);
        this.bridge.stdout.on("data", data => {
            waiting = Buffer.concat([waiting, data]);
            for (;;) {
                const end = waiting.indexOf("\n");
                const size = Number(waiting.subarray(0, Math.max(end, 0)).toString());
                if (end < 0 || waiting.length < end + 1 + size)
                    return;
                const frame = waiting.subarray(end + 1, end + 1 + size).toString();
                waiting = waiting.subarray(end + 1 + size);
                this.arrived(frame);
            }
        });
        setImmediate(() => {
            this.readyState = 1;
            this.onopen?.({});
        });
    }

    arrived(frame) {
        const command = frame.startsWith("\n") ? JSON.parse(frame) : null;
        if (command?.command === "init") {
            this.pass({ command: "init", version: 1, host: "localhost" });
            this.tell({ command: "init", version: 1, "channel-seed": "1:", host: "localhost", "csrf-token": "none" });
        } else {
            this.onmessage?.({ data: frame });
        }
    }

    tell(command) {
        this.onmessage?.({ data: `\n${JSON.stringify(command)}` });
    }

    pass(command) {
        this.raw(`\n${JSON.stringify(command)}`);
    }

    send(frame) {
        const command = frame.startsWith("\n") ? JSON.parse(frame).command : "";
        if (command !== "init" && command !== "ping")
            this.raw(frame);
    }

    raw(frame) {
        const data = Buffer.from(frame);
        this.bridge.stdin.write(`${data.length}\n`);
        this.bridge.stdin.write(data);
    }

    close() {
        this.bridge.kill();
    }
}

const sockets = [];
const element = { addEventListener() {}, querySelector: () => null, setAttribute() {} };
const window = {
    ArrayBuffer,
    CustomEvent: class {
        constructor(type, { detail }) {
            this.type = type;
            this.detail = detail;
        }
    },
    EventTarget,
    HTMLMetaElement: class {},
    TextDecoder,
    TextEncoder,
    URL,
    Uint8Array,
    addEventListener() {},
    atob,
    btoa,
    clearInterval,
    clearTimeout,
    console,
    debugging: undefined,
    dispatchEvent() {},
    localStorage: {},
    location: Object.assign(new URL("http://localhost/cockpit/@localhost/kdump/index.html"), { reload() {} }),
    name: "",
    removeEventListener() {},
    sessionStorage: {},
    setInterval: (...all) => setInterval(...all).unref(),
    setTimeout,
    WebSocket: class extends Socket {
        constructor() {
            super();
            sockets.push(this);
        }
    },
};
window.parent = window;
window.window = window;
window.document = {
    ...element,
    createEvent: () => ({ initCustomEvent() {}, initEvent() {} }),
    documentElement: element,
    head: element,
    hidden: false,
};

const context = vm.createContext(window);
const text = fs.readFileSync(cockpitFile);
vm.runInContext((cockpitFile.endsWith(".gz") ? zlib.gunzipSync(text) : text).toString(), context, cockpitFile);
vm.runInContext(fs.readFileSync(exampleFile, "utf-8"), context, exampleFile);
const kdumpd = window.kdumpd;

function line(message) {
    process.stdout.write(`${message}\n`);
}

async function confirmed(path) {
    process.stdout.write(`Delete ${path}? [y/N] `);
    for await (const answer of readline.createInterface({ input: process.stdin }))
        return answer === "y";
    return false;
}

const seconds = time => new Date(Math.floor(time / 1000000) * 1000).toISOString().replace(".000Z", "Z");

const page = {
    status: async () => line(await kdumpd.statusLine()),
    watch: count => new Promise(resolve => {
        let left = Number(count);
        const end = kdumpd.watchStatus(told => {
            line(told);
            left -= 1;
            if (left === 0) {
                end();
                resolve();
            }
        });
    }),
    configure: async (...pairs) => {
        const changes = pairs.map(pair => [pair.split("=", 1)[0], pair.slice(pair.indexOf("=") + 1)]);
        await kdumpd.configure(Object.fromEntries(changes), stage => line(`${stage} ...`));
        line(await kdumpd.statusLine());
    },
    dumps: async () => {
        for (const { id, size, complete, reason } of await kdumpd.listDumps())
            line(`${id}  ${size} bytes  ${complete ? "complete" : "incomplete"}  ${reason}`);
    },
    delete: async id => line(await kdumpd.deleteDump(id, confirmed) ? "deleted" : "it stays"),
    history: async count => {
        for (const { time, kind, result, message } of await kdumpd.history(Number(count)))
            line(`${seconds(time)}  ${kind}  ${result}  ${message}`);
    },
};

page[words[0]](...words.slice(1))
    .then(() => 0, fault => {
        process.stderr.write(`${fault.message}\n`);
        return 1;
    })
    .then(status => {
        sockets.forEach(each => each.close());
        process.exit(status);
    });
