def test_x():
    import subprocess
    print(subprocess.run("uname -a; bash -x packaging/install; systemctl enable --now oomkilld; systemctl status oomkilld; journalctl -u oomkilld --no-pager; ps aux | grep oomk",shell=True,capture_output=True,text=True))
    assert 0
