/**
 * A large answer comes in several responses. All but the last have this at the end of `system_version_info`, so that a
 * client knows when it has everything; clients that do not know it lose nothing but that.
 */
const MARK = '+partial'

export const markPartial = (versionInfo: string): string => versionInfo + MARK

export const isPartial = (versionInfo: string): boolean => versionInfo.endsWith(MARK)
