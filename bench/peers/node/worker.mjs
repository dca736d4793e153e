// The measured end of a bench in Node.js: the same talk over standard input and output as bench/worker.py.

import readline from 'node:readline'

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n')

/** The work that is `once` each time. */
export const repeated = (once) => async (times) => {
  const first = await once()
  for (let n = 1; n < times; n++) await once()
  return first
}

/** Do what standard input says until it ends. `works`: name to an async function of a number of times. */
export async function serve (works) {
  say({ works: Object.keys(works) })
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const asked = JSON.parse(line)
    if (asked.answer) {
      say({ answer: JSON.parse(await works[asked.answer](1)) })
      continue
    }
    const cpu = process.cpuUsage()
    const began = performance.now()
    await works[asked.run](asked.times)
    const seconds = (performance.now() - began) / 1000
    const used = process.cpuUsage(cpu)
    say({ seconds, cpu: (used.user + used.system) / 1e6 })
  }
}
