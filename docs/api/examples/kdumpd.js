/* kdumpd from a page of Cockpit, with cockpit.dbus. Load cockpit.js ("../base1/cockpit.js") before it.
 *
 *   kdumpd.statusLine()                     one line: is the machine protected?
 *   kdumpd.watchStatus(told)                told(line) now and whenever it changes; returns a function that ends it
 *   kdumpd.configure(changes, staged)       change kdump.conf and wait until the change is armed; "" takes a setting out
 *   kdumpd.listDumps()                      what was saved, the newest first
 *   kdumpd.deleteDump(id, confirmed)        delete a dump where `await confirmed(path)` is true
 *   kdumpd.history(count)                   the last jobs and changes of the state
 *
 * All but watchStatus return promises. What is rejected has a `message` that may be shown, and `name`, that of the error.
 */
"use strict";

window.kdumpd = (() => {
    const NAME = "org.kdumpd.Kdump1";
    const ROOT = "/org/kdumpd/Kdump1";

    // With administrative access the calls come from root; without it what needs a password is refused, and
    // GetPermissions says so beforehand. What has been read of an object is kept up to date by Cockpit.
    const client = cockpit.dbus(NAME, { superuser: "try" });
    const manager = client.proxy(`${NAME}.Manager`, ROOT);

    // Values of variants come as { t: signature, v: value }.
    const plain = dictionary => Object.fromEntries(Object.entries(dictionary).map(([key, value]) => [key, value.v]));

    // "armed: a crash would be saved to /dev/vda1 (ext4) in /var/crash"; what decides anything is State and Protected.
    const lineOf = () => manager.StateMessage;

    async function statusLine() {
        await manager.wait();
        return lineOf();
    }

    function watchStatus(told) {
        let before = null;

        function look() {
            if (manager.valid && lineOf() !== before) {
                before = lineOf();
                told(before);
            }
        }

        manager.addEventListener("changed", look);
        manager.wait().then(look);
        return () => manager.removeEventListener("changed", look);
    }

    function waitForJob(path, staged) {
        const job = client.proxy(`${NAME}.Job`, path);

        return new Promise((resolve, reject) => {
            let before = "";

            function look() {
                if (!job.valid)
                    return;
                if (job.Stage && job.Stage !== before) {
                    before = job.Stage;
                    staged(before);
                }
                if (job.State === "done") {
                    job.removeEventListener("changed", look);
                    if (job.Result === "done")
                        resolve();
                    else
                        reject(Object.assign(new Error(job.ErrorMessage), { name: job.ErrorName }));
                }
            }

            job.addEventListener("changed", look);
            job.wait().then(look);
        });
    }

    async function configure(changes, staged = () => {}) {
        // Methods of a proxy give `await` their first result alone; client.call gives all of them.
        const call = (method, ...given) => client.call(ROOT, `${NAME}.Config`, method, given);
        // Against the text that was seen: had somebody else changed it meanwhile, this would fail with Conflict.
        const [, etag] = await call("Get", {});
        const asked = Object.entries(changes).map(([key, value]) => [key, cockpit.variant("s", value)]);
        const [, job] = await call("Set", Object.fromEntries(asked), etag, {});
        if (job !== "/")
            await waitForJob(job, staged);
    }

    // Page after page: the time and the id of the last one are where the next page begins.
    async function listDumps() {
        await manager.wait();
        const dumps = [];
        let before = 0, id = "", page;
        do {
            page = (await manager.ListDumps(before, 100, { "before-id": cockpit.variant("s", id) })).map(plain);
            dumps.push(...page);
            if (page.length > 0)
                ({ time: before, id } = page[page.length - 1]);
        } while (page.length > 0);
        return dumps;
    }

    async function deleteDump(id, confirmed) {
        const dump = (await listDumps()).find(each => each.id === id);
        if (!dump)
            throw new Error(`there is no dump ${id}`);
        if (dump.object === "/")
            throw new Error(`${id} is not among the newest dumps, which alone can be deleted`);
        if (!await confirmed(dump.path))
            return false;
        await client.call(dump.object, `${NAME}.Dump`, "Delete", [{}]);
        return true;
    }

    async function history(count = 10) {
        await manager.wait();
        return (await manager.GetHistory(count, {})).map(plain);
    }

    return { client, manager, statusLine, watchStatus, waitForJob, configure, listDumps, deleteDump, history };
})();
