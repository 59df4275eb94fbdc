// Keys for tests: made from a seed where the scheme allows it, fresh where it does not (RSA).

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign, constants } from 'node:crypto'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const bundles = require('@dha-team/arbundles')
const bs58 = require('bs58')
const { Wallet } = require('@ethersproject/wallet')

/** 32 bytes that stand for `name`. */
export const seed = (name) => createHash('sha256').update(`weft interop key ${name}`).digest()

/** An ed25519 key: `{ secret, publicKey, sign, jwk }`. */
export function ed25519(name) {
  const secret = seed(name)
  // The fixed head of a PKCS #8 file with an ed25519 key.
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), secret])
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  const jwk = key.export({ format: 'jwk' })
  const publicKey = Buffer.from(createPublicKey(key).export({ format: 'jwk' }).x, 'base64url')
  return { secret, publicKey, jwk, sign: (message) => sign(null, Buffer.from(message), key) }
}

/** A new Arweave wallet as a JSON Web Key. */
export function wallet() {
  return generateKeyPairSync('rsa', { modulusLength: 4096, publicExponent: 65537 }).privateKey.export({ format: 'jwk' })
}

/** What a browser wallet offers to arbundles for an Arweave wallet, here with any salt length. */
function injectedWallet(jwk, saltLength) {
  const key = createPrivateKey({ key: jwk, format: 'jwk' })
  return {
    getActivePublicKey: async () => jwk.n,
    signature: async (message) =>
      sign('sha256', Buffer.from(message), { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }),
  }
}

/** A multi-signature of `members` ed25519 keys of which those at `signing` sign. */
function multiSignature(members, signing, threshold) {
  const keys = Array.from({ length: members }, (_, at) => ed25519(`multi ${at}`))
  const owner = Buffer.alloc(32 * 32 + 1)
  keys.forEach((key, at) => owner.set(key.publicKey, at * 32))
  owner[32 * 32] = threshold
  return new bundles.MultiSignatureAptosSigner(owner, async (message) => ({
    signatures: signing.map((at) => keys[at].sign(message)),
    bitmap: signing,
  }))
}

const solanaKey = (name) => {
  const key = ed25519(name)
  return bs58.encode(Buffer.concat([key.secret, key.publicKey]))
}

/** Every signer that arbundles offers: `{ name, type, signer }`. */
export async function signers() {
  const jwk = wallet()
  const ethereumKey = seed('ethereum').toString('hex')
  const ethers = new Wallet(`0x${ethereumKey}`)
  const solana = ed25519('injected solana')
  const aptos = ed25519('injected aptos')
  const algorand = ed25519('algorand')
  const single = ed25519('aptos')

  const arconnect = new bundles.ArconnectSigner(injectedWallet(jwk, 32))
  const unsalted = new bundles.ArconnectSigner(injectedWallet(jwk, 0))
  const longest = new bundles.ArconnectSigner(injectedWallet(jwk, 478))
  const injectedEthereum = new bundles.InjectedEthereumSigner({ getSigner: () => ethers })
  const injectedTyped = new bundles.InjectedTypedEthereumSigner({ getSigner: () => ethers })
  await Promise.all([arconnect, unsalted, longest, injectedEthereum].map((signer) => signer.setPublicKey()))
  await injectedTyped.ready()
  const solanaWallet = {
    publicKey: { toBuffer: () => solana.publicKey },
    signMessage: async (message) => solana.sign(message),
  }
  const aptosWallet = {
    signMessage: async ({ message, nonce }) => {
      const signature = aptos.sign(Buffer.from(`APTOS\nmessage: ${message}\nnonce: ${nonce}`))
      return { signature: signature.toString('hex') }
    },
  }
  const hex = (bytes) => `0x${bytes.toString('hex')}`
  return [
    { name: 'Arweave', type: 1, signer: new bundles.ArweaveSigner(jwk) },
    { name: 'Arconnect', type: 1, signer: arconnect },
    { name: 'Arconnect without salt', type: 1, signer: unsalted },
    { name: 'Arconnect with the longest salt', type: 1, signer: longest },
    { name: 'Solana', type: 2, signer: new bundles.SolanaSigner(solanaKey('solana')) },
    { name: 'injected Solana', type: 2, signer: new bundles.InjectedSolanaSigner(solanaWallet) },
    { name: 'Near', type: 2, signer: new bundles.NearSigner(`ed25519:${solanaKey('near')}`) },
    { name: 'Algorand', type: 2, signer: new bundles.AlgorandSigner(algorand.secret, algorand.publicKey) },
    { name: 'Aptos', type: 2, signer: new bundles.AptosSigner(hex(single.secret), hex(single.publicKey)) },
    { name: 'Ethereum', type: 3, signer: new bundles.EthereumSigner(ethereumKey) },
    { name: 'Polygon', type: 3, signer: new bundles.PolygonSigner(`0x${ethereumKey}`) },
    { name: 'injected Ethereum', type: 3, signer: injectedEthereum },
    { name: 'hex Solana', type: 4, signer: new bundles.HexSolanaSigner(solanaKey('hex solana')) },
    { name: 'hex injected Solana', type: 4, signer: new bundles.HexInjectedSolanaSigner(solanaWallet) },
    { name: 'injected Aptos', type: 5, signer: new bundles.InjectedAptosSigner(aptosWallet, aptos.publicKey) },
    { name: 'multi Aptos 2 of 3', type: 6, signer: multiSignature(3, [0, 2], 2) },
    { name: 'multi Aptos 32 of 32', type: 6, signer: multiSignature(32, Array.from({ length: 32 }, (_, at) => at), 32) },
    { name: 'typed Ethereum', type: 7, signer: new bundles.TypedEthereumSigner(ethereumKey) },
    { name: 'injected typed Ethereum', type: 7, signer: injectedTyped },
  ]
}

/** A multi-signature with fewer signers than its threshold: arbundles takes it, we do not. */
export const belowThreshold = () => multiSignature(3, [1], 2)

/** A multi-signature of nobody: arbundles takes it for any data, we do not. */
export const ofNobody = () => multiSignature(3, [], 1)

/** A signer of type 101, which arbundles signs and cannot verify. */
export const kyve = () => new bundles.KyveSigner(seed('kyve').toString('hex'))
