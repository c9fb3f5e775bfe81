import { Command, Option } from 'commander'
import { readSettings, type Settings, type SettingsOf } from '../shared/runtime/settings.ts'

/** A subcommand that starts one of the programs: its flags, help and environment come from its settings. */
export function programCommand<D extends Settings>(
  name: string,
  description: string,
  definitions: D,
  start: (settings: SettingsOf<D>) => Promise<void>,
): Command {
  const command = new Command(name).description(description)
  for (const setting of Object.values(definitions)) {
    const flags =
      setting.argument === undefined
        ? `--${setting.flag}`
        : `--${setting.flag} <${setting.argument}>`
    const fallback =
      setting.fallback === undefined ? 'required' : `default: ${setting.fallback || 'none'}`
    command.addOption(new Option(flags, `${setting.help} (${setting.env}; ${fallback})`))
  }
  return command.action(async (_options, self: Command) => {
    const flags = Object.fromEntries(
      self.options.map((option) => [
        option.name(),
        flagValue(self.getOptionValue(option.attributeName())),
      ]),
    )
    await start(readSettings(definitions, { flags, env: process.env }))
  })
}

const flagValue = (value: unknown): string | boolean | undefined =>
  typeof value === 'string' || typeof value === 'boolean' ? value : undefined
