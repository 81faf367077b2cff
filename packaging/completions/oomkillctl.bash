# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Completes the command line of oomkillctl in bash. Names from the journal are strangers' text: they are only quoted and
# compared here, never expanded.

_oomkillctl() { # command, what readline will replace
	# tables: written by tests/support/completions.py
	local verbs='list info follow stats check selftest schema' reading='list info follow stats'
	local -A flags_of=(
		[list]='-S --since -U --until -b --boot -n --lines -1 -r --reverse -u --unit --user-unit --slice --container --pod --event --source --host -D --directory --file --root -m --merge --all-members --oneline -F --field --json -j -a --full --utc --no-legend --no-pager --color -q --quiet -h --help --version'
		[info]='-S --since -U --until -b --boot -n --lines -1 -r --reverse -u --unit --user-unit --slice --container --pod --event --source --host -D --directory --file --root -m --merge -F --field --json -j -a --full --utc --no-pager --color -q --quiet -h --help --version'
		[follow]='-S --since -n --lines -u --unit --user-unit --slice --container --pod --event --source --host -D --directory --file --root -m --merge --oneline --json -j -a --full --utc --no-legend --no-pager --color -q --quiet -h --help --version'
		[stats]='-S --since -U --until -b --boot -u --unit --user-unit --slice --container --pod --source --host -D --directory --file --root -m --merge --by --bare --json -j -a --full --utc --no-legend --no-pager --color -q --quiet -h --help --version'
		[check]='--plugin --no-pager --color -q --quiet -h --help --version'
		[selftest]='--no-pager --color -q --quiet -h --help --version'
		[schema]='--no-pager --color -q --quiet -h --help --version'
	)
	local -A kind_of=(
		[-S]='other'
		[--since]='other'
		[-U]='other'
		[--until]='other'
		[-n]='other'
		[--lines]='other'
		[-u]='seen OOM_VICTIM_UNIT'
		[--unit]='seen OOM_VICTIM_UNIT'
		[--user-unit]='seen OOM_VICTIM_USER_UNIT'
		[--slice]='seen OOM_VICTIM_SLICE'
		[--container]='seen OOM_VICTIM_CONTAINER_NAME'
		[--pod]='seen OOM_VICTIM_POD_NAME'
		[--event]='list kill spared unkillable stuck gone missed level history all'
		[--source]='word kprobe fentry tracepoint kmsg'
		[--host]='other'
		[-D]='directory'
		[--directory]='directory'
		[--file]='file'
		[--root]='directory'
		[-F]='field'
		[--field]='field'
		[--by]='word unit container pod comm slice host day hour domain source'
		[--json]='word short pretty off'
		[--color]='word auto always never'
	)
	local fields='DOCUMENTATION MESSAGE MESSAGE_ID OBJECT_SYSTEMD_CGROUP OBJECT_SYSTEMD_INVOCATION_ID OBJECT_SYSTEMD_SLICE OBJECT_SYSTEMD_UNIT OBJECT_SYSTEMD_USER_UNIT OOM_AT_KILL_ANONPAGES_BYTES OOM_AT_KILL_DIRTY_BYTES OOM_AT_KILL_DOMAIN_ANON_BYTES OOM_AT_KILL_DOMAIN_FILE_BYTES OOM_AT_KILL_DOMAIN_KERNEL_BYTES OOM_AT_KILL_DOMAIN_SHMEM_BYTES OOM_AT_KILL_LOADAVG_1 OOM_AT_KILL_LOADAVG_15 OOM_AT_KILL_LOADAVG_5 OOM_AT_KILL_MAPPED_BYTES OOM_AT_KILL_MEMFREE_BYTES OOM_AT_KILL_SHMEM_BYTES OOM_AT_KILL_SLAB_BYTES OOM_AT_KILL_SWAPFREE_BYTES OOM_AT_KILL_WRITEBACK_BYTES OOM_BOOTTIME_TIMESTAMP OOM_CANDIDATES OOM_CANDIDATES_BYTES OOM_CANDIDATES_EXEMPT OOM_CONSTRAINT OOM_DECISION_ID OOM_DETAIL OOM_DOMAIN OOM_DOMAIN_CGROUP OOM_DOMAIN_CGROUP_CUT OOM_DOMAIN_CONTAINER_ID OOM_DOMAIN_CONTAINER_NAME OOM_DOMAIN_CONTAINER_RUNTIME OOM_DOMAIN_CPUSET OOM_DOMAIN_EVENTS_HIGH OOM_DOMAIN_EVENTS_MAX OOM_DOMAIN_EVENTS_OOM_KILL OOM_DOMAIN_HIGH_BYTES OOM_DOMAIN_INNER_CONTAINER_ID OOM_DOMAIN_INNER_CONTAINER_RUNTIME OOM_DOMAIN_LIMIT_BYTES OOM_DOMAIN_MACHINE OOM_DOMAIN_NODES OOM_DOMAIN_PEAK_BYTES OOM_DOMAIN_POD_NAME OOM_DOMAIN_POD_NAMESPACE OOM_DOMAIN_POD_UID OOM_DOMAIN_SESSION OOM_DOMAIN_SLICE OOM_DOMAIN_SWAP_LIMIT_BYTES OOM_DOMAIN_SWAP_USAGE_BYTES OOM_DOMAIN_TASKS OOM_DOMAIN_UNIT OOM_DOMAIN_USAGE_BYTES OOM_DOMAIN_USER_UNIT OOM_EVENT OOM_EXIT_AFTER_USEC OOM_GFP_FLAGS OOM_GFP_MASK OOM_GREW_1_BYTES OOM_GREW_1_CGROUP OOM_GREW_2_BYTES OOM_GREW_2_CGROUP OOM_GREW_3_BYTES OOM_GREW_3_CGROUP OOM_GREW_WINDOW_USEC OOM_GROUP_KILL OOM_HISTORY_1 OOM_HISTORY_1_CGROUP OOM_HISTORY_2 OOM_HISTORY_2_CGROUP OOM_HISTORY_3 OOM_HISTORY_3_CGROUP OOM_HISTORY_4 OOM_HISTORY_4_CGROUP OOM_HISTORY_5 OOM_HISTORY_5_CGROUP OOM_HISTORY_ANONPAGES OOM_HISTORY_CACHED OOM_HISTORY_DIRTY OOM_HISTORY_DOMAIN OOM_HISTORY_MEMAVAILABLE OOM_HISTORY_MEMFREE OOM_HISTORY_SHMEM OOM_HISTORY_SINCE_TIMESTAMP OOM_HISTORY_SUNRECLAIM OOM_HISTORY_SWAPFREE OOM_HISTORY_VICTIM OOM_KERNEL_RELEASE OOM_KILL_ID OOM_LEVEL_FROM OOM_LEVEL_TO OOM_LOADAVG OOM_LOADAVG_1 OOM_LOADAVG_15 OOM_LOADAVG_5 OOM_MISSED OOM_MISSED_REASON OOM_ORDER OOM_ORDER_BYTES OOM_PSI_CPU_FULL_AVG10 OOM_PSI_CPU_FULL_AVG300 OOM_PSI_CPU_FULL_AVG60 OOM_PSI_CPU_FULL_TOTAL_USEC OOM_PSI_CPU_SOME_AVG10 OOM_PSI_CPU_SOME_AVG300 OOM_PSI_CPU_SOME_AVG60 OOM_PSI_CPU_SOME_TOTAL_USEC OOM_PSI_IO_FULL_AVG10 OOM_PSI_IO_FULL_AVG300 OOM_PSI_IO_FULL_AVG60 OOM_PSI_IO_FULL_TOTAL_USEC OOM_PSI_IO_SOME_AVG10 OOM_PSI_IO_SOME_AVG300 OOM_PSI_IO_SOME_AVG60 OOM_PSI_IO_SOME_TOTAL_USEC OOM_PSI_MEMORY_FULL_AVG10 OOM_PSI_MEMORY_FULL_AVG300 OOM_PSI_MEMORY_FULL_AVG60 OOM_PSI_MEMORY_FULL_TOTAL_USEC OOM_PSI_MEMORY_SOME_AVG10 OOM_PSI_MEMORY_SOME_AVG300 OOM_PSI_MEMORY_SOME_AVG60 OOM_PSI_MEMORY_SOME_TOTAL_USEC OOM_REASON OOM_SAMPLE_DELAY_USEC OOM_SCHEMA OOM_SOURCE OOM_TIMESTAMP OOM_TOTAL_BYTES OOM_TOTAL_PAGES OOM_TREND OOM_TRIGGER_CGROUP OOM_TRIGGER_CGROUP_CUT OOM_TRIGGER_CMDLINE OOM_TRIGGER_COMM OOM_TRIGGER_CONTAINER_ID OOM_TRIGGER_CONTAINER_NAME OOM_TRIGGER_CONTAINER_RUNTIME OOM_TRIGGER_EXE_NAME OOM_TRIGGER_INNER_CONTAINER_ID OOM_TRIGGER_INNER_CONTAINER_RUNTIME OOM_TRIGGER_MACHINE OOM_TRIGGER_NS_PID OOM_TRIGGER_PARENT_COMM OOM_TRIGGER_PARENT_PID OOM_TRIGGER_PID OOM_TRIGGER_POD_NAME OOM_TRIGGER_POD_NAMESPACE OOM_TRIGGER_POD_UID OOM_TRIGGER_SESSION OOM_TRIGGER_SLICE OOM_TRIGGER_START_TIMESTAMP OOM_TRIGGER_TID OOM_TRIGGER_UID OOM_TRIGGER_UNIT OOM_TRIGGER_USER_UNIT OOM_VICTIM_AGE_USEC OOM_VICTIM_BADNESS OOM_VICTIM_CGROUP OOM_VICTIM_CGROUP_CUT OOM_VICTIM_CMDLINE OOM_VICTIM_COMM OOM_VICTIM_CONTAINER_ID OOM_VICTIM_CONTAINER_NAME OOM_VICTIM_CONTAINER_RUNTIME OOM_VICTIM_EXE_NAME OOM_VICTIM_INNER_CONTAINER_ID OOM_VICTIM_INNER_CONTAINER_RUNTIME OOM_VICTIM_MACHINE OOM_VICTIM_NS_PID OOM_VICTIM_OOM_SCORE_ADJ OOM_VICTIM_PARENT_COMM OOM_VICTIM_PARENT_PID OOM_VICTIM_PGTABLES_BYTES OOM_VICTIM_PID OOM_VICTIM_POD_NAME OOM_VICTIM_POD_NAMESPACE OOM_VICTIM_POD_UID OOM_VICTIM_RSS_ANON_BYTES OOM_VICTIM_RSS_BYTES OOM_VICTIM_RSS_FILE_BYTES OOM_VICTIM_RSS_SHMEM_BYTES OOM_VICTIM_SESSION OOM_VICTIM_SLICE OOM_VICTIM_START_TIMESTAMP OOM_VICTIM_SWAP_BYTES OOM_VICTIM_TID OOM_VICTIM_TOTAL_VM_BYTES OOM_VICTIM_UID OOM_VICTIM_UNIT OOM_VICTIM_USER_UNIT PRIORITY SYSLOG_IDENTIFIER _BOOT_ID _HOSTNAME _MACHINE_ID'
	# end of tables
	local line=${COMP_LINE:0:COMP_POINT} words verb="" at previous
	# The word up to the cursor, of which readline replaces only what follows the last = or :
	local word=${line##*[[:space:]]}
	[[ $word == *"$2" ]] || return
	local kept=${word%"$2"}
	IFS=$' \t\n' read -ra words <<<"${line%"$word"}"
	for ((at = 1; at < ${#words[@]}; at++)); do
		case ${words[at]} in
		--?*=*) ;;
		-*) if [[ -n ${kind_of[${words[at]}]-} ]]; then ((++at)); fi ;;
		*)
			verb=list
			if [[ " $verbs " == *" ${words[at]} "* ]]; then verb=${words[at]}; fi
			break
			;;
		esac
	done
	previous=${words[-1]}
	if [[ $word == --*=* ]]; then
		_oomkillctl_values "$1" "${kind_of[${word%%=*}]-}" "${word%%=*}=" "${word#*=}"
	elif [[ $previous == -* && -n ${kind_of[$previous]-} ]]; then
		_oomkillctl_values "$1" "${kind_of[$previous]}" "" "$word"
	elif [[ $word == -* ]]; then
		# shellcheck disable=SC2086 # flags are words
		_oomkillctl_offer "" ${flags_of[${verb:-list}]}
		# shellcheck disable=SC2086
		if [[ -z $verb ]]; then _oomkillctl_offer "" ${flags_of[stats]} ${flags_of[check]}; fi
	elif [[ -n $verb && " $reading " != *" $verb "* ]]; then
		return
	elif [[ $word =~ ^[A-Z_][A-Z0-9_]*= ]]; then
		_oomkillctl_values "$1" "seen ${word%%=*}" "${word%%=*}=" "${word#*=}"
	else
		# shellcheck disable=SC2086
		if [[ -z $verb ]]; then _oomkillctl_offer "" $verbs; fi
		if [[ $word == [A-Z_]* ]]; then
			# shellcheck disable=SC2086
			_oomkillctl_offer "" ${fields// /= }=
			compopt -o nospace
		elif [[ -n $verb ]]; then
			_oomkillctl_values "$1" "seen OOM_VICTIM_UNIT" "" "$word"
		fi
	fi
}

_oomkillctl_values() { # command, kind, what stands before the value, the value so far
	local values=() before=$3
	# shellcheck disable=SC2206 # words
	case $2 in
	seen\ *) mapfile -t values < <(_oomkillctl_seen "$1" "${2#* }") ;;
	word\ *) values=(${2#* }) ;;
	list\ *)
		values=(${2#* })
		if [[ $4 == *,* ]]; then before=$3${4%,*},; fi
		;;
	field) values=($fields) ;;
	directory | file)
		local action=file
		if [[ $2 == directory ]]; then action=directory; fi
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -A $action -- "$4")
		return
		;;
	esac
	_oomkillctl_offer "$before" "${values[@]}"
}

_oomkillctl_offer() { # what stands before each, values…
	local before=$1 each
	shift
	for each; do
		if [[ $each == *[!A-Za-z0-9@_.:/=+-]* ]]; then printf -v each %q "$each"; fi
		each=$before$each
		if [[ $each == "$word"* && " ${COMPREPLY[*]} " != *" ${each#"$kept"} "* ]]; then
			COMPREPLY+=("${each#"$kept"}")
		fi
	done
}

# Values in the journal that the command line names so far.
_oomkillctl_seen() { # command, field
	local sources=() at
	for ((at = 1; at < ${#words[@]}; at++)); do
		case ${words[at]} in
		-m | --merge | --directory=* | --file=* | --root=*) sources+=("${words[at]}") ;;
		-D | --directory | --file | --root) sources+=("${words[at]}" "${words[++at]/#\~\//"$HOME/"}") ;;
		esac
	done
	"$1" "${sources[@]}" -q -F "$2" 2>/dev/null
}

complete -F _oomkillctl oomkillctl
