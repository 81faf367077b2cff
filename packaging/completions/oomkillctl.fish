# SPDX-License-Identifier: Apache-2.0
# Completes the command line of oomkillctl in fish.

# The verb before the cursor; list, if there is another word.
function __oomkillctl_verb
    set -l takes_value
    for word in (commandline -opc)[2..]
        if test -n "$takes_value"
            set takes_value
        else if contains -- $word $__oomkillctl_valued
            set takes_value yes
        else if not string match -q -- '-*' $word
            contains -- $word $__oomkillctl_verbs; and echo $word; or echo list
            return
        end
    end
end

function __oomkillctl_is_first
    set -l verb (__oomkillctl_verb)
    test -z "$verb"
end

# Whether an option of these verbs may follow.
function __oomkillctl_is
    set -l verb (__oomkillctl_verb)
    test -z "$verb"; or contains -- $verb $argv
end

# Values in the journal that the command line names so far.
function __oomkillctl_seen
    set -l sources
    set -l is_value
    for word in (commandline -opc)[2..]
        if test -n "$is_value"
            set -a sources (string replace -r '^~/' "$HOME/" -- $word)
            set is_value
        else if contains -- $word -D --directory --file --root
            set -a sources $word
            set is_value yes
        else if string match -qr -- '^(-m|--merge|--(directory|file|root)=.*)$' $word
            set -a sources $word
        end
    end
    command oomkillctl $sources -q -F $argv[1] 2>/dev/null
end

function __oomkillctl_matches
    set -l word (commandline -ct)
    if string match -qr -- '^[A-Z_][A-Z0-9_]*=' $word
        set -l field (string split -m 1 = -- $word)[1]
        printf "$field=%s\n" (__oomkillctl_seen $field)
    else if string match -qr -- '^[A-Z_]' $word
        printf '%s=\n' $__oomkillctl_fields
    else if not __oomkillctl_is_first
        __oomkillctl_seen OOM_VICTIM_UNIT
    end
end

complete -c oomkillctl -f
complete -c oomkillctl -n '__oomkillctl_is $__oomkillctl_reading' -a '(__oomkillctl_matches)'
# tables: written by tests/support/completions.py
set -g __oomkillctl_verbs list info follow stats check selftest schema
set -g __oomkillctl_reading list info follow stats
set -g __oomkillctl_valued -S --since -U --until -n --lines -u --unit --user-unit --slice --container --pod --event --source --host -D --directory --file --root -F --field --by --json --color
set -g __oomkillctl_fields DOCUMENTATION MESSAGE MESSAGE_ID OBJECT_SYSTEMD_CGROUP OBJECT_SYSTEMD_INVOCATION_ID OBJECT_SYSTEMD_SLICE OBJECT_SYSTEMD_UNIT OBJECT_SYSTEMD_USER_UNIT OOM_AT_KILL_ANONPAGES_BYTES OOM_AT_KILL_DIRTY_BYTES OOM_AT_KILL_DOMAIN_ANON_BYTES OOM_AT_KILL_DOMAIN_FILE_BYTES OOM_AT_KILL_DOMAIN_KERNEL_BYTES OOM_AT_KILL_DOMAIN_SHMEM_BYTES OOM_AT_KILL_LOADAVG_1 OOM_AT_KILL_LOADAVG_15 OOM_AT_KILL_LOADAVG_5 OOM_AT_KILL_MAPPED_BYTES OOM_AT_KILL_MEMFREE_BYTES OOM_AT_KILL_SHMEM_BYTES OOM_AT_KILL_SLAB_BYTES OOM_AT_KILL_SWAPFREE_BYTES OOM_AT_KILL_WRITEBACK_BYTES OOM_BOOTTIME_TIMESTAMP OOM_CANDIDATES OOM_CANDIDATES_BYTES OOM_CANDIDATES_EXEMPT OOM_CONSTRAINT OOM_DECISION_ID OOM_DETAIL OOM_DOMAIN OOM_DOMAIN_CGROUP OOM_DOMAIN_CGROUP_CUT OOM_DOMAIN_CONTAINER_ID OOM_DOMAIN_CONTAINER_NAME OOM_DOMAIN_CONTAINER_RUNTIME OOM_DOMAIN_CPUSET OOM_DOMAIN_EVENTS_HIGH OOM_DOMAIN_EVENTS_MAX OOM_DOMAIN_EVENTS_OOM_KILL OOM_DOMAIN_HIGH_BYTES OOM_DOMAIN_INNER_CONTAINER_ID OOM_DOMAIN_INNER_CONTAINER_RUNTIME OOM_DOMAIN_LIMIT_BYTES OOM_DOMAIN_MACHINE OOM_DOMAIN_NODES OOM_DOMAIN_PEAK_BYTES OOM_DOMAIN_POD_NAME OOM_DOMAIN_POD_NAMESPACE OOM_DOMAIN_POD_UID OOM_DOMAIN_SESSION OOM_DOMAIN_SLICE OOM_DOMAIN_SWAP_LIMIT_BYTES OOM_DOMAIN_SWAP_USAGE_BYTES OOM_DOMAIN_TASKS OOM_DOMAIN_UNIT OOM_DOMAIN_USAGE_BYTES OOM_DOMAIN_USER_UNIT OOM_EVENT OOM_EXIT_AFTER_USEC OOM_GFP_FLAGS OOM_GFP_MASK OOM_GREW_1_BYTES OOM_GREW_1_CGROUP OOM_GREW_2_BYTES OOM_GREW_2_CGROUP OOM_GREW_3_BYTES OOM_GREW_3_CGROUP OOM_GREW_WINDOW_USEC OOM_GROUP_KILL OOM_HISTORY_1 OOM_HISTORY_1_CGROUP OOM_HISTORY_2 OOM_HISTORY_2_CGROUP OOM_HISTORY_3 OOM_HISTORY_3_CGROUP OOM_HISTORY_4 OOM_HISTORY_4_CGROUP OOM_HISTORY_5 OOM_HISTORY_5_CGROUP OOM_HISTORY_ANONPAGES OOM_HISTORY_CACHED OOM_HISTORY_DIRTY OOM_HISTORY_DOMAIN OOM_HISTORY_MEMAVAILABLE OOM_HISTORY_MEMFREE OOM_HISTORY_SHMEM OOM_HISTORY_SINCE_TIMESTAMP OOM_HISTORY_SUNRECLAIM OOM_HISTORY_SWAPFREE OOM_HISTORY_VICTIM OOM_KERNEL_RELEASE OOM_KILL_ID OOM_LEVEL_FROM OOM_LEVEL_TO OOM_LOADAVG OOM_LOADAVG_1 OOM_LOADAVG_15 OOM_LOADAVG_5 OOM_MISSED OOM_MISSED_REASON OOM_ORDER OOM_ORDER_BYTES OOM_PSI_CPU_FULL_AVG10 OOM_PSI_CPU_FULL_AVG300 OOM_PSI_CPU_FULL_AVG60 OOM_PSI_CPU_FULL_TOTAL_USEC OOM_PSI_CPU_SOME_AVG10 OOM_PSI_CPU_SOME_AVG300 OOM_PSI_CPU_SOME_AVG60 OOM_PSI_CPU_SOME_TOTAL_USEC OOM_PSI_IO_FULL_AVG10 OOM_PSI_IO_FULL_AVG300 OOM_PSI_IO_FULL_AVG60 OOM_PSI_IO_FULL_TOTAL_USEC OOM_PSI_IO_SOME_AVG10 OOM_PSI_IO_SOME_AVG300 OOM_PSI_IO_SOME_AVG60 OOM_PSI_IO_SOME_TOTAL_USEC OOM_PSI_MEMORY_FULL_AVG10 OOM_PSI_MEMORY_FULL_AVG300 OOM_PSI_MEMORY_FULL_AVG60 OOM_PSI_MEMORY_FULL_TOTAL_USEC OOM_PSI_MEMORY_SOME_AVG10 OOM_PSI_MEMORY_SOME_AVG300 OOM_PSI_MEMORY_SOME_AVG60 OOM_PSI_MEMORY_SOME_TOTAL_USEC OOM_REASON OOM_SAMPLE_DELAY_USEC OOM_SCHEMA OOM_SOURCE OOM_TIMESTAMP OOM_TOTAL_BYTES OOM_TOTAL_PAGES OOM_TREND OOM_TRIGGER_CGROUP OOM_TRIGGER_CGROUP_CUT OOM_TRIGGER_CMDLINE OOM_TRIGGER_COMM OOM_TRIGGER_CONTAINER_ID OOM_TRIGGER_CONTAINER_NAME OOM_TRIGGER_CONTAINER_RUNTIME OOM_TRIGGER_EXE_NAME OOM_TRIGGER_INNER_CONTAINER_ID OOM_TRIGGER_INNER_CONTAINER_RUNTIME OOM_TRIGGER_MACHINE OOM_TRIGGER_NS_PID OOM_TRIGGER_PARENT_COMM OOM_TRIGGER_PARENT_PID OOM_TRIGGER_PID OOM_TRIGGER_POD_NAME OOM_TRIGGER_POD_NAMESPACE OOM_TRIGGER_POD_UID OOM_TRIGGER_SESSION OOM_TRIGGER_SLICE OOM_TRIGGER_START_TIMESTAMP OOM_TRIGGER_TID OOM_TRIGGER_UID OOM_TRIGGER_UNIT OOM_TRIGGER_USER_UNIT OOM_VICTIM_AGE_USEC OOM_VICTIM_BADNESS OOM_VICTIM_CGROUP OOM_VICTIM_CGROUP_CUT OOM_VICTIM_CMDLINE OOM_VICTIM_COMM OOM_VICTIM_CONTAINER_ID OOM_VICTIM_CONTAINER_NAME OOM_VICTIM_CONTAINER_RUNTIME OOM_VICTIM_EXE_NAME OOM_VICTIM_INNER_CONTAINER_ID OOM_VICTIM_INNER_CONTAINER_RUNTIME OOM_VICTIM_MACHINE OOM_VICTIM_NS_PID OOM_VICTIM_OOM_SCORE_ADJ OOM_VICTIM_PARENT_COMM OOM_VICTIM_PARENT_PID OOM_VICTIM_PGTABLES_BYTES OOM_VICTIM_PID OOM_VICTIM_POD_NAME OOM_VICTIM_POD_NAMESPACE OOM_VICTIM_POD_UID OOM_VICTIM_RSS_ANON_BYTES OOM_VICTIM_RSS_BYTES OOM_VICTIM_RSS_FILE_BYTES OOM_VICTIM_RSS_SHMEM_BYTES OOM_VICTIM_SESSION OOM_VICTIM_SLICE OOM_VICTIM_START_TIMESTAMP OOM_VICTIM_SWAP_BYTES OOM_VICTIM_TID OOM_VICTIM_TOTAL_VM_BYTES OOM_VICTIM_UID OOM_VICTIM_UNIT OOM_VICTIM_USER_UNIT PRIORITY SYSLOG_IDENTIFIER _BOOT_ID _HOSTNAME _MACHINE_ID
complete -c oomkillctl -n __oomkillctl_is_first -a list -d 'list kills, one per line, the newest last (the default)'
complete -c oomkillctl -n __oomkillctl_is_first -a info -d 'show everything about the newest kill, or about all that match'
complete -c oomkillctl -n __oomkillctl_is_first -a follow -d 'list kills as they happen'
complete -c oomkillctl -n __oomkillctl_is_first -a stats -d 'count kills, by unit or as --by says'
complete -c oomkillctl -n __oomkillctl_is_first -a check -d 'check whether this machine\'s kills are recorded'
complete -c oomkillctl -n __oomkillctl_is_first -a selftest -d 'let the kernel kill one process of its own, confined to 30 MiB, and await its entry'
complete -c oomkillctl -n __oomkillctl_is_first -a schema -d 'print the JSON Schema of an entry'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -s S -l since -x -d 'killed at TIME or later, see systemd.time(7)'
complete -c oomkillctl -n '__oomkillctl_is list info stats' -s U -l until -x -d 'killed at TIME or earlier'
complete -c oomkillctl -n '__oomkillctl_is list info stats' -s b -l boot -d 'in this boot; BOOT: an id, -1 for the boot before, 1 for the oldest one'
complete -c oomkillctl -n '__oomkillctl_is list info follow' -s n -l lines -x -d 'the newest N'
complete -c oomkillctl -n '__oomkillctl_is list info' -s 1 -d 'the newest one'
complete -c oomkillctl -n '__oomkillctl_is list info' -s r -l reverse -d 'the newest first'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -s u -l unit -x -a '(__oomkillctl_seen OOM_VICTIM_UNIT)' -d 'of this unit: the victim\'s, or whose limit it was; may be given again'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -l user-unit -x -a '(__oomkillctl_seen OOM_VICTIM_USER_UNIT)' -d 'the same for a unit of a user; may be given again'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -l slice -x -a '(__oomkillctl_seen OOM_VICTIM_SLICE)' -d 'the same for a slice; may be given again'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -l container -x -a '(__oomkillctl_seen OOM_VICTIM_CONTAINER_NAME)' -d 'the same for a container: its name, or the beginning of its id; may be given again'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -l pod -x -a '(__oomkillctl_seen OOM_VICTIM_POD_NAME)' -d 'the same for a pod: its name or uid; may be given again'
complete -c oomkillctl -n '__oomkillctl_is list info follow' -l event -x -a '(__fish_append , kill spared unkillable stuck gone missed level history all)' -d 'kinds: kill, spared, unkillable, stuck, gone, missed, level, history or all; default: kill,missed'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -l source -x -a 'kprobe fentry tracepoint kmsg' -d 'recorded at this capture level; may be given again'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -l host -x -d 'kills of the machine NAME: the name in the column HOST; may be given again'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -s D -l directory -x -a '(__fish_complete_directories)' -d 'read the journal files in DIR'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -l file -r -F -d 'read these journal files; may be given again'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -l root -x -a '(__fish_complete_directories)' -d 'read the journal of the system below DIR'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -s m -l merge -d 'read all journals here, also those received from other machines'
complete -c oomkillctl -n '__oomkillctl_is list' -l all-members -d 'a line for each process of a group kill'
complete -c oomkillctl -n '__oomkillctl_is list follow' -l oneline -d 'lines as BCC\'s oomkill prints them'
complete -c oomkillctl -n '__oomkillctl_is list info' -s F -l field -x -a '$__oomkillctl_fields' -d 'print the values of FIELD instead, each once'
complete -c oomkillctl -n '__oomkillctl_is stats' -l by -x -a 'unit container pod comm slice host day hour domain source' -d 'unit, container, pod, comm, slice, host, day, hour, domain or source'
complete -c oomkillctl -n '__oomkillctl_is stats' -l bare -d 'one line, for a message at login; none if there is nothing to report'
complete -c oomkillctl -n '__oomkillctl_is check' -l plugin -d 'one line and status 0 to 3, as monitoring plug-ins have them'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -l json -x -a 'short pretty off' -d 'print JSON: short (one object a line), pretty (an array) or off'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -s j -d '--json=short'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -s a -l full -d 'do not cut names to the width of the terminal; info: also exact bytes, meminfo, vmstat and ids'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats' -l utc -d 'print times in UTC; times that you give stay local, unless UTC stands behind them'
complete -c oomkillctl -n '__oomkillctl_is list follow stats' -l no-legend -d 'neither the header nor the line at the end'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats check selftest schema' -l no-pager -d 'do not start a pager'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats check selftest schema' -l color -x -a 'auto always never' -d 'auto, always or never'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats check selftest schema' -s q -l quiet -d 'no notices'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats check selftest schema' -s h -l help -d 'print this help and exit'
complete -c oomkillctl -n '__oomkillctl_is list info follow stats check selftest schema' -l version -d 'print the version and exit'
# end of tables
