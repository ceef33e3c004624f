package qemu_test
import ("testing";"context";"time";"os";"tljh/integration-tests/qemu")
func TestZ(t *testing.T){
 if os.Getenv("ZZ")=="" {t.Skip()}
 ctx,c:=context.WithTimeout(context.Background(),30*time.Minute); defer c()
 b,err:=qemu.Open(ctx,"trixie"); if err!=nil{t.Fatal(err)}
 m,err:=b.Thaw(ctx); if err!=nil{t.Fatal(err)}
 defer m.Close()
 t.Log(m.Sh(ctx,"apt-get update -q >/dev/null && apt-get install -qy --no-install-recommends mmdebstrap systemd-container nftables iproute2 >/dev/null 2>&1; echo $?"))
 f,_:=os.Open("/tmp/guests/guest.test"); t.Log(m.Put(ctx,"/root/guest.test",f))
 r,err:=m.Sh(ctx,"cd /root; chmod +x guest.test; TLJH_INTEGRATION=1 TLJH_TEST_ARTEFACTS=/root/art ./guest.test -test.v -test.timeout 25m; find /root/art -name console.log -exec tail -n 20 {} +")
 t.Log(r.Stdout); t.Log(r.Stderr,err)
}
