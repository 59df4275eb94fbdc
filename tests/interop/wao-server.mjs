// The servers of wao in a process of their own, on loopback alone and on any free ports: prints where they are.
// For gateway-speed.mjs.

import { createServer, Server } from 'node:net'

/** Every server of this process listens on loopback, whatever it asks for. */
const listen = Server.prototype.listen
Server.prototype.listen = function (port, ...rest) {
  const done = rest.find((argument) => typeof argument === 'function')
  return listen.call(this, { port: Number(port?.port ?? port), host: '127.0.0.1' }, done)
}

/** A port that nobody listens on now. */
function free() {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject)
    server.listen(0, () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

const ports = {}
for (const unit of ['ar', 'bd', 'mu', 'su', 'cu']) ports[unit] = await free()
// It is no part of what the package says it exports.
const { default: Units } = await import(new URL('node_modules/wao/esm/server.js', import.meta.url))
const { servers } = new Units(ports)
await Promise.all(servers.map((server) => server.listening || new Promise((resolve) => server.once('listening', resolve))))
console.log(`READY ${JSON.stringify(ports)}`)
