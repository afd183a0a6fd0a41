// One DEALER of Node's package `zeromq`.
//
// Arguments: the folder of the package, and a task as JSON (`mod.rs` says what is in it).
"use strict"

const path = require("node:path")
const zmq = require(process.argv[2])

const task = JSON.parse(process.argv[3])
const { version } = require(path.join(process.argv[2], "package.json"))
const serves = !("connect" in task)

function say(told) {
    process.stdout.write(JSON.stringify(told) + "\n")
}

/// The text of a key whose bytes these are (RFC 32).
function z85(bytes) {
    const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    let text = ""
    for (let at = 0; at < bytes.length; at += 4) {
        const value = bytes.readUInt32BE(at)
        for (const power of [85 ** 4, 85 ** 3, 85 ** 2, 85, 1]) {
            text += digits[Math.floor(value / power) % 85]
        }
    }
    return text
}

/// Answers ZAP requests (RFC 27): one user and one key are known.
async function judge(handler) {
    for await (const [, id, , , , mechanism, ...credentials] of handler) {
        const isKnown = {
            NULL: () => true,
            PLAIN: ([user, password]) => `${user}` === task.username && `${password}` === task.password,
            CURVE: ([key]) => z85(key) === task.known,
        }[mechanism.toString()](credentials)
        await handler.send(["1.0", id, isKnown ? "200" : "400", "", "somebody", ""])
    }
}

async function main() {
    const options = {
        NULL: {},
        PLAIN: serves
            ? { plainServer: true }
            : { plainUsername: task.username, plainPassword: task.password },
        CURVE: serves
            ? { curveServer: true, curveSecretKey: task.secret }
            : { curvePublicKey: task.public, curveSecretKey: task.secret, curveServerKey: task.server },
    }[task.mechanism]
    if (serves) {
        options.zapDomain = "meet"
        const handler = new zmq.Reply()
        await handler.bind("inproc://zeromq.zap.01")
        judge(handler)
    }
    const dealer = new zmq.Dealer({ ...options, linger: 0 })
    if (serves) {
        await dealer.bind("tcp://127.0.0.1:*")
        say({ version, endpoint: dealer.lastEndpoint })
    } else {
        dealer.connect(task.connect)
        say({ version })
        await dealer.send("hello")
    }
    for await (const [message] of dealer) {
        say({ received: message.toString() })
        if (serves) {
            await dealer.send(`${message} back`)
        }
    }
}

process.stdin.on("end", () => process.exit(0)).resume()
main().catch((error) => {
    console.error(error)
    process.exit(1)
})
