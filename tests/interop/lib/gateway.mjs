// Nodes with a gateway, and aoconnect pointed at it: three addresses, all of them the same.

import { createRequire } from 'node:module'
import { createHash } from 'node:crypto'
import { startNode } from './node.mjs'
import { temporaryFolder } from './run.mjs'
import { ed25519, seed, wallet } from './keys.mjs'

const require = createRequire(import.meta.url)
const bundles = require('@dha-team/arbundles')

/** The lines of aoconnect that are tried, the newest first. */
export const versions = ['98', '85', '62', '53']

/** What a node is told that serves whoever asks. */
const open = ['--listen', '/ip4/127.0.0.1/tcp/0', '--schedule-for', 'anyone', '--compute-for', 'anyone']

/** Starts a node that serves HTTP clients: `{ ready, weft, stop, url }`. */
export async function startGateway(flags = [], folder = temporaryFolder()) {
  const node = await startNode(folder, [...open, '--gateway', '0', ...flags])
  return { ...node, url: node.ready.gateway }
}

/** aoconnect of a version, pointed at a gateway. */
export async function connectTo(version, url) {
  const { connect, createDataItemSigner } = await import(`aoconnect-${version}`)
  const ao = connect({ MODE: 'legacy', GATEWAY_URL: url, MU_URL: url, CU_URL: url })
  return { ao, createDataItemSigner }
}

/** A signer of any chain for a version: from 0.0.85 on it signs a hash, before that it makes the item. */
export function signerOf(version, signer) {
  if (Number(version) < 85) {
    return async ({ data, tags, target, anchor }) => {
      const item = bundles.createData(data, signer, { tags, target, anchor })
      await item.sign(signer)
      return { id: item.id, raw: item.getRaw() }
    }
  }
  const address = createHash('sha256').update(signer.publicKey).digest('base64url')
  return async (create) => {
    const hash = await create({ type: signer.signatureType, publicKey: signer.publicKey, address, alg: '' })
    return { signature: Buffer.from(await signer.sign(hash)), address }
  }
}

/** A key of each chain: `{ name, signer, owner }`, the owner as modules see it. */
export function keys() {
  const key = ed25519('gateway')
  const secret = Buffer.concat([key.secret, key.publicKey])
  const solana = new bundles.SolanaSigner(require('bs58').encode(secret))
  const ethereum = new bundles.EthereumSigner(seed('gateway').toString('hex'))
  const { Wallet } = require('@ethersproject/wallet')
  const { address } = new Wallet(`0x${seed('gateway').toString('hex')}`)
  return [
    { name: 'ed25519', signer: solana, owner: createHash('sha256').update(key.publicKey).digest('base64url') },
    { name: 'Ethereum', signer: ethereum, owner: address },
  ]
}

/** Somebody with an ed25519 key, which is quickly made: `{ address, signer }`, for `createDataItemSigner` of new lines. */
export function citizen(name) {
  const key = ed25519(name)
  const signer = new bundles.SolanaSigner(require('bs58').encode(Buffer.concat([key.secret, key.publicKey])))
  return { address: createHash('sha256').update(key.publicKey).digest('base64url'), signer: signerOf('98', signer) }
}

/** A new Arweave wallet: `{ jwk, address }`. */
export function person() {
  const jwk = wallet()
  const address = createHash('sha256').update(Buffer.from(jwk.n, 'base64url')).digest('base64url')
  return { jwk, address }
}

/** Asks a gateway, and gives status and JSON whatever the status is. */
export async function ask(url, path, options) {
  const response = await fetch(`${url}${path}`, options)
  const text = await response.text()
  return { status: response.status, headers: response.headers, text, json: text === '' ? null : JSON.parse(text) }
}

/** A GraphQL query. */
export async function graphql(url, query, variables = {}) {
  const body = JSON.stringify({ query, variables })
  const headers = { 'content-type': 'application/json' }
  const { status, json } = await ask(url, '/graphql', { method: 'POST', headers, body })
  if (status !== 200 || json.errors) throw new Error(`graphql: ${status} ${JSON.stringify(json)}`)
  return json.data
}

/** The value of a tag. */
export const tag = (tags, name) => tags.find((tag) => tag.name === name)?.value

/** Asks again until it is so, as clients that poll do. */
export async function until(what, look, ms = 60_000) {
  const deadline = Date.now() + ms
  for (;;) {
    const found = await look()
    if (found) return found
    if (Date.now() > deadline) throw new Error(`${what}: not in ${ms} ms`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
